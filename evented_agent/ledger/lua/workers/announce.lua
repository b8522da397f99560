-- announce: a worker says that it lives, or ('' for its state) that it leaves. KEYS 1 workers.
-- ARGV 1 worker, 2 state as JSON, 3 ms after which silence counts as death
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  local clock = redis.call('TIME')
  local state = cjson.decode(ARGV[2])
  state.pulse = clock[1] * 1000 + math.floor(clock[2] / 1000)
  redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(state))
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return redis.call('HLEN', KEYS[1])
