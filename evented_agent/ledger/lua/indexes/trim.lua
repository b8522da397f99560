-- trim: takes runs whose records have expired out of the indexes.
-- status is the index of an ended status, whose times are the ends of its runs.
-- KEYS status indexes...
-- ARGV ended_before
-- RETURNS (how many runs were taken out)
local gone = redis.call('ZRANGEBYSCORE', STATUS, '-inf', ended_before, 'LIMIT', 0, 500)
if #gone == 0 then return 0 end
for i = 1, #KEYS do redis.call('ZREM', KEYS[i], unpack(gone)) end
return #gone
