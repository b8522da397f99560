-- list: run ids of one index with their times, newest first. KEYS 1 index. ARGV 1 newest ms, 2 oldest ms, 3 offset,
-- 4 how many
return redis.call('ZREVRANGEBYSCORE', KEYS[1], ARGV[1], ARGV[2], 'WITHSCORES', 'LIMIT', ARGV[3],
  ARGV[4])
