-- trim: take runs whose records have expired out of the indexes.
-- KEYS 1 index of an ended status (its scores are the ends), 2.. indexes. ARGV 1 ended before (ms)
local gone = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, 500)
if #gone == 0 then return 0 end
for i = 1, #KEYS do redis.call('ZREM', KEYS[i], unpack(gone)) end
return #gone
