-- create: the run, its first task queued, its alarm and its indexes, at once.
-- digest is one of what was asked. first_task is JSON. After chunk_count chunks come pairs of field
-- and value of the record.
-- INCLUDE record chunks tasks status
-- KEYS run statuses indexes...
-- ARGV run_id digest first_task chunk_count chunks...
-- RETURNS created | conflict | deleted | exists
local INDEX_TTL = 100 * 24 * 3600 * 1000
local state = load_run()
if state == 'deleted' then return {'deleted'} end
if state == nil then
  -- The same call again (its reply may have been lost) finds its own run.
  return {run.digest == digest and 'exists' or 'conflict'}
end
local fields_at = CHUNKS_AT + tonumber(chunk_count)
local first = cjson.decode(first_task)
local record = {digest = digest, created = now, status = 'queued', seq = 0, live = {}, step = 1}
for i = fields_at, #ARGV, 2 do record[ARGV[i]] = ARGV[i + 1] end
for name, value in pairs(record) do set(name, NUMBERS[name] and tonumber(value) or value) end
if run.deadline_in then set('deadline', now + run.deadline_in) end
write_before('ZADD', STATUS_INDEX.queued, int(now), run_id)
for i = INDEXES_AT, #KEYS do
  local kind = string.match(KEYS[i], '}:runs:(%a+)')
  -- One holds the conversations of a resource, which stay when their runs have gone.
  local member = kind == 'threads' and record.thread or run_id
  write_before('ZADD', KEYS[i], int(now), member)
  -- A thread's or a resource's index goes when nothing was added for so long that its runs have.
  if kind == 'thread' or kind == 'resource' or kind == 'threads' then
    write_before('PEXPIRE', KEYS[i], INDEX_TTL)
  end
end
for i = CHUNKS_AT, fields_at - 1 do emit(ARGV[i]) end
local key = first.key
first.key = nil
queue_task(key, new_task(key, first))
-- Without a record, these are what a call that failed half way has left. Only where there is any:
-- after this write Redis would no longer refuse the others when it is full.
if redis.call('EXISTS', TASKS, JOURNAL, TOPIC) > 0 then
  planned.clear = {'UNLINK', TASKS, JOURNAL, TOPIC}
end
save(true)
return {'created'}
