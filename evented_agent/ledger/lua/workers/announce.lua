-- announce: a worker says that it lives, or ('' for its state) that it leaves.
-- state is JSON; silence of silence_ms counts as death.
-- INCLUDE clock
-- KEYS workers
-- ARGV worker state silence_ms
-- RETURNS (how many live)
if state == '' then
  redis.call('HDEL', WORKERS, worker)
else
  state = cjson.decode(state)
  state.pulse = now
  redis.call('HSET', WORKERS, worker, cjson.encode(state))
  redis.call('PEXPIRE', WORKERS, silence_ms)
end
return redis.call('HLEN', WORKERS)
