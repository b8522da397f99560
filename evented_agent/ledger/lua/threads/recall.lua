-- recall: the last entries of a conversation, oldest first. KEYS 1 conversation. ARGV 1 how many
return redis.call('LRANGE', KEYS[1], -tonumber(ARGV[1]), -1)
