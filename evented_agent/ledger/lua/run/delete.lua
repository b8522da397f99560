-- delete: remove everything of a run; a tombstone stays, so that nobody takes it for unknown.
-- KEYS 14.. indexes that hold the run. ARGV 2 tombstone ms, 3 token of
-- this deletion: asked again after a lost reply, the same answer
local state = load_run()
if state == 'deleted' and run.deleted_by == ARGV[3] then return {'ok'} end
if state then return {state} end
redis.call('ZREM', ALARMS, run_id)
redis.call('ZREM', BELLS, run_id)
for i = 8, #KEYS do redis.call('ZREM', KEYS[i], run_id) end
redis.call('UNLINK', RUN, TASKS, JOURNAL, TOPIC, BLOBS)
redis.call('HSET', RUN, 'deleted', int(now), 'deleted_by', ARGV[3])
redis.call('PEXPIRE', RUN, ARGV[2])
return {'ok'}
