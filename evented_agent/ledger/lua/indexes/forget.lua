-- forget: take run ids out of an index whose records have expired. KEYS 1 index. ARGV run ids
return redis.call('ZREM', KEYS[1], unpack(ARGV))
