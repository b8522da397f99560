-- forget_gone: takes those of some runs out of an index whose records have expired.
-- KEYS index runs...
-- ARGV run_ids...
-- RETURNS (how many were taken out)
local gone = 0
for i = RUNS_AT, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 0 then
    gone = gone + redis.call('ZREM', INDEX, ARGV[RUN_IDS_AT + i - RUNS_AT])
  end
end
return gone
