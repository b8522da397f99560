-- deployment: what all processes must agree on is stored by the first of them.
-- KEYS deployment
-- ARGV shards format
-- RETURNS (shards, format, eviction policy, 1 if there is an append-only file, version)
redis.call('HSETNX', DEPLOYMENT, 'shards', shards)
redis.call('HSETNX', DEPLOYMENT, 'format', format)
local memory = redis.call('INFO', 'memory')
local persistence = redis.call('INFO', 'persistence')
local server = redis.call('INFO', 'server')
return {redis.call('HGET', DEPLOYMENT, 'shards'), redis.call('HGET', DEPLOYMENT, 'format'),
  string.match(memory, 'maxmemory_policy:(%S+)') or '',
  string.match(persistence, 'aof_enabled:(%d)') or '',
  string.match(server, 'redis_version:(%S+)') or ''}
