-- remember: keeps what a run added to a thread.
-- Again, and from a longer journal, it takes the place that it had; places says which that is.
-- messages is how many messages entry has.
-- INCLUDE clock conversation
-- KEYS thread
-- ARGV run_id name journal_length entry messages ttl_ms
-- RETURNS (1, or 0 where a longer journal's is known)
local is_new = redis.call('EXISTS', LOG) == 0
-- Places outlive the messages where one of the runs was deleted.
if is_new then forget_places() end
local known = redis.call('HGET', PLACES, run_id)
local place, length, before = place_of(known or '')
if known and tonumber(length) > tonumber(journal_length) then return 0 end

-- How many runs and messages there are; an older version has counted none.
local function counted()
  if is_new then return 0, 0 end
  local runs, said = unpack(redis.call('HMGET', ABOUT, 'runs', 'messages'))
  if runs then return tonumber(runs), tonumber(said) end
  runs, said = 0, 0
  for _, stored in ipairs(redis.call('HVALS', PLACES)) do
    local _, its_length, its_messages = place_of(stored)
    if its_length ~= LONGEST then runs, said = runs + 1, said + its_messages end
  end
  return runs, said
end

local runs, said = counted()
if known then
  redis.call('LSET', LOG, place, entry)
else
  place = int(redis.call('RPUSH', LOG, entry) - 1)
  runs = runs + 1
end
redis.call('HSET', PLACES, run_id, place .. ':' .. journal_length .. ':' .. messages)
redis.call('PEXPIRE', LOG, ttl_ms)
if redis.call('PTTL', PLACES) < tonumber(ttl_ms) then redis.call('PEXPIRE', PLACES, ttl_ms) end
touch(name, ttl_ms)
redis.call('HSET', ABOUT, 'runs', int(runs), 'messages', int(said - before + tonumber(messages)))
return 1
