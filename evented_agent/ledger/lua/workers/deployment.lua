-- deployment: what all processes must agree on is stored by the first of them.
-- KEYS deployment
-- ARGV shards format
-- RETURNS (shards, format, eviction policy, 1 if there is an append-only file, version; the last
--   three are empty where this user may not ask for them)
redis.call('HSETNX', DEPLOYMENT, 'shards', shards)
redis.call('HSETNX', DEPLOYMENT, 'format', format)
local function about(section, pattern)
  local info = redis.pcall('INFO', section)
  return type(info) == 'string' and string.match(info, pattern) or ''
end
return {redis.call('HGET', DEPLOYMENT, 'shards'), redis.call('HGET', DEPLOYMENT, 'format'),
  about('memory', 'maxmemory_policy:(%S+)'), about('persistence', 'aof_enabled:(%d)'),
  about('server', 'redis_version:(%S+)')}
