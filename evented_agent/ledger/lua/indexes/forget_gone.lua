-- forget_gone: takes those members out of an index whose records have expired.
-- KEYS index records...
-- ARGV members...
-- RETURNS (how many were taken out)
local gone = 0
for i = RECORDS_AT, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 0 then
    gone = gone + redis.call('ZREM', INDEX, ARGV[MEMBERS_AT + i - RECORDS_AT])
  end
end
return gone
