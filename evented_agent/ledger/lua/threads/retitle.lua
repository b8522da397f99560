-- retitle: gives a conversation a title; '' takes it away.
-- INCLUDE conversation
-- KEYS thread
-- ARGV name title
-- RETURNS ok | missing
if redis.call('EXISTS', ABOUT, LOG) == 0 then return {'missing'} end
-- What an older version has kept is in no list yet.
if redis.call('EXISTS', ABOUT) == 0 then touch(name, redis.call('PTTL', LOG)) end
if title == '' then
  redis.call('HDEL', ABOUT, 'title')
else
  redis.call('HSET', ABOUT, 'title', title)
end
return {'ok'}
