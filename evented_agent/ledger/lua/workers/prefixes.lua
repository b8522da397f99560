-- prefixes: under which other prefixes engines keep runs.
-- KEYS prefixes
-- RETURNS (prefixes)
return redis.call('SMEMBERS', PREFIXES)
