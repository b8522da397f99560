-- blob: store a large payload before the chunk or entry that points to it.
-- ARGV 2 task key, 3 token, 4 name, 5 payload
local state = load_run()
if state then return {state} end
if not owns(get_task(ARGV[2]), ARGV[3]) then return {'fenced'} end
redis.call('HSET', BLOBS, ARGV[4], ARGV[5])
return {'ok'}
