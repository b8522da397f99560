-- recall: the last entries of a conversation, oldest first, without those that were forgotten.
-- KEYS log
-- ARGV most
-- RETURNS (entries)
local FORGOTTEN = '["",[]]'
local most, to = tonumber(most), redis.call('LLEN', LOG)
local newest = {}
while #newest < most and to > 0 do
  local from = math.max(0, to - most)
  local page = redis.call('LRANGE', LOG, from, to - 1)
  for i = #page, 1, -1 do
    if page[i] ~= FORGOTTEN and #newest < most then newest[#newest + 1] = page[i] end
  end
  to = from
end
local entries = {}
for i = #newest, 1, -1 do entries[#entries + 1] = newest[i] end
return entries
