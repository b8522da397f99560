-- create: the run, its first task queued, its alarm and its indexes, at once.
-- KEYS 14.. indexes to add the run to.
-- ARGV 2 digest of what was asked, 3 first task as JSON, 4 number of chunks, then the chunks, then
-- field and value pairs of the record.
local INDEX_TTL = 100 * 24 * 3600 * 1000
local state = load_run()
if state == 'deleted' then return {'deleted'} end
if state == nil then
  -- The same call again (its reply may have been lost) finds its own run.
  return {run.digest == ARGV[2] and 'exists' or 'conflict'}
end
local chunks = tonumber(ARGV[4])
local first = cjson.decode(ARGV[3])
local record = {}
for i = 5 + chunks, #ARGV do record[#record + 1] = ARGV[i] end
redis.call('HSET', RUN, 'digest', ARGV[2], 'created', int(now), 'status', 'queued', 'seq', '0',
  'live', '[]', 'step', '1', unpack(record))
load_run()
for i = 8, #KEYS do
  -- A thread's or a resource's index goes when nothing was added for so long that its runs have.
  if string.find(KEYS[i], ':runs:thread:', 1, true) or string.find(KEYS[i], ':runs:resource:', 1, true) then
    redis.call('ZADD', KEYS[i], int(now), run_id)
    redis.call('PEXPIRE', KEYS[i], INDEX_TTL)
  elseif i > 13 or i == STATUS_INDEX.queued then redis.call('ZADD', KEYS[i], int(now), run_id) end
end
if run.deadline_in then set('deadline', now + run.deadline_in) end
for i = 1, chunks do emit(ARGV[4 + i]) end
local key = first.key
first.key = nil
queue_task(key, new_task(key, first))
save()
return {'created'}
