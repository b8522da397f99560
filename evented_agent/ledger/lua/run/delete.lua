-- delete: removes everything of a run; a tombstone stays, so that nobody takes it for unknown.
-- The same token again (the reply may have been lost) gets the same answer.
-- INCLUDE record status
-- KEYS run statuses indexes...
-- ARGV run_id tombstone_ms token
-- RETURNS ok | deleted | missing
local state = load_run(true)
local names = redis.call('HKEYS', RUN)
-- The tombstone comes first: the same call again removes what is left.
if state and not (state == 'deleted' and run.deleted_by == token) then return {state} end
-- Changes nothing, and lets a full Redis take the next line: deleting makes room.
redis.call('HDEL', RUN, '')
redis.call('HSET', RUN, 'deleted', int(now), 'deleted_by', token)
redis.call('PEXPIRE', RUN, tombstone_ms)
redis.call('UNLINK', TASKS, JOURNAL, TOPIC, BLOBS)
redis.call('ZREM', ALARMS, run_id)
redis.call('ZREM', BELLS, run_id)
for _, index in pairs(STATUS_INDEX) do redis.call('ZREM', index, run_id) end
for i = INDEXES_AT, #KEYS do redis.call('ZREM', KEYS[i], run_id) end
for _, name in ipairs(names) do
  if name ~= 'deleted' and name ~= 'deleted_by' then redis.call('HDEL', RUN, name) end
end
return {'ok'}
