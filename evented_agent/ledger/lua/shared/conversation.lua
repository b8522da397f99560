-- conversation: what lists show of a conversation, and the indexes that it is found in.
-- INCLUDE clock
-- KEYS thread
-- The journal's length in the place of a run that was deleted: longer than any, so that an attempt
-- which is still under way adds nothing.
local LONGEST = '9007199254740991'

-- Where a run is in the log, how long its journal was, and how many messages it has added, which
-- older versions did not count.
local function place_of(stored)
  local place, length, messages = string.match(stored, '^(%d+):(%d+):?(%d*)')
  return place, length, tonumber(messages) or 0
end

-- The log is gone, and so is what stood in it; that a run was deleted stays known.
local function forget_places()
  local places = redis.call('HGETALL', PLACES)
  for i = 1, #places, 2 do
    local _, length = place_of(places[i + 1])
    if length ~= LONGEST then redis.call('HDEL', PLACES, places[i]) end
  end
end

local function digest_in_lists() return string.match(ABOUT, ':thread:(%x+):about$') end

-- Something is said in it: it comes first in lists, and stays there as long as its messages do.
local function touch(name, ttl_ms)
  redis.call('HSETNX', ABOUT, 'created', int(now))
  redis.call('HSET', ABOUT, 'name', name, 'updated', int(now))
  redis.call('PEXPIRE', ABOUT, ttl_ms)
  for _, index in ipairs({LISTED, OWNED}) do
    redis.call('ZADD', index, int(now), digest_in_lists())
    redis.call('PEXPIRE', index, ttl_ms)
  end
end
