-- about: what lists show of a conversation.
-- said is the end of the last entry that was not forgotten: its last words, as JSON.
-- KEYS turns log about
-- RETURNS ok name created updated title runs messages said turn | missing
local FORGOTTEN, MOST = '["",[]]', 100
local stored = redis.call('HMGET', ABOUT, 'name', 'created', 'updated', 'title', 'runs', 'messages')
if not stored[1] then return {'missing'} end
local name, created, updated, title, runs, messages = unpack(stored)
local length, said = redis.call('LLEN', LOG), ''
-- The messages may have expired while a run waited for its turn.
if length == 0 then runs, messages = nil, nil end
for i = 1, math.min(length, MOST) do
  local entry = redis.call('LINDEX', LOG, -i)
  if entry ~= FORGOTTEN then
    said = string.match(string.sub(entry, -1500), ',("[^"]*")%]$') or ''
    break
  end
end
return {'ok', name, created, updated, title or '', runs or '0', messages or '0', said,
  redis.call('LINDEX', TURNS, 0) or ''}
