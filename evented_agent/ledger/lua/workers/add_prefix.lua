-- add_prefix: an engine says under which prefix it keeps the runs of its agent.
-- KEYS prefixes
-- ARGV prefix
-- RETURNS (1 if that is news)
return redis.call('SADD', PREFIXES, prefix)
