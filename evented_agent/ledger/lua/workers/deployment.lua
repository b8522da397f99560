-- deployment: what all processes must agree on is stored by the first of them. KEYS 1 deployment.
-- ARGV 1 shards, 2 format
redis.call('HSETNX', KEYS[1], 'shards', ARGV[1])
redis.call('HSETNX', KEYS[1], 'format', ARGV[2])
local memory = redis.call('INFO', 'memory')
local persistence = redis.call('INFO', 'persistence')
local server = redis.call('INFO', 'server')
return {redis.call('HGET', KEYS[1], 'shards'), redis.call('HGET', KEYS[1], 'format'),
  string.match(memory, 'maxmemory_policy:(%S+)') or '',
  string.match(persistence, 'aof_enabled:(%d)') or '',
  string.match(server, 'redis_version:(%S+)') or ''}
