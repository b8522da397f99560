-- delete: remove everything of a run; a tombstone stays, so that nobody takes it for unknown.
-- KEYS 14.. indexes that hold the run. ARGV 2 tombstone ms
local state = load_run()
if state then return {state} end
redis.call('ZREM', ALARMS, run_id)
redis.call('ZREM', BELLS, run_id)
for i = 8, #KEYS do redis.call('ZREM', KEYS[i], run_id) end
redis.call('UNLINK', RUN, TASKS, JOURNAL, TOPIC, BLOBS)
redis.call('HSET', RUN, 'deleted', int(now))
redis.call('PEXPIRE', RUN, ARGV[2])
return {'ok'}
