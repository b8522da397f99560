-- recall: the last entries of a conversation, oldest first.
-- KEYS log
-- ARGV most
-- RETURNS (entries)
return redis.call('LRANGE', LOG, -tonumber(most), -1)
