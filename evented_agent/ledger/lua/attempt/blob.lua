-- blob: stores a large payload, before the chunk or entry that points to it.
-- INCLUDE record
-- KEYS run
-- ARGV run_id key token name payload
-- RETURNS ok | deleted | fenced | missing
local state = load_run()
if state then return {state} end
if not owns(get_task(key), token) then return {'fenced'} end
redis.call('HSET', BLOBS, name, payload)
return {'ok'}
