-- count_common: how many runs are in an index and in one of others, at most most of each.
-- KEYS index others...
-- ARGV most
-- RETURNS (how many)
local count = 0
for i = OTHERS_AT, #KEYS do
  local found = redis.pcall('ZINTERCARD', 2, INDEX, KEYS[i], 'LIMIT', most)
  if type(found) == 'table' then
    -- Redis 6 does not have that command.
    found = 0
    for _, run_id in ipairs(redis.call('ZREVRANGE', INDEX, 0, 9999)) do
      if redis.call('ZSCORE', KEYS[i], run_id) then found = found + 1 end
    end
  end
  count = count + found
end
return count
