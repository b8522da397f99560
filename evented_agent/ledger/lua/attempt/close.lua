-- close: the run is about to end, and nobody has been told yet.
-- From here on no message comes in and nothing aborts the run, so whoever is told is told the
-- truth; the attempt goes on. journal_length is how long the journal was when the end was decided;
-- newest is the newest format that the worker serves. The same token again gets the same answer.
-- INCLUDE record chunks tasks status attempts
-- KEYS run statuses
-- ARGV run_id key token sent journal_length newest chunk_count texts...
-- RETURNS ok journal_length | aborted | deleted | fenced | gap | grew journal_length entries
--   | missing | newer sends
local state = load_run()
if state then return {state} end
mend_live()
local task = get_task(key)
if not owns(task, token) then return {'fenced'} end
if run.closed == token then return {'ok', redis.call('LLEN', JOURNAL)} end
if task.sent ~= tonumber(sent) then return {'gap'} end
if is_aborting() then return {'aborted'} end
if redis.call('LLEN', JOURNAL) ~= tonumber(journal_length) then
  if run.v > tonumber(newest) then
    keep_attempt(key, task, 'released', 'newer')
    queue_task(key, task)
    save()
    return {'newer', cjson.encode({due_message(key, task)})}
  end
  return {'grew', redis.call('LLEN', JOURNAL), redis.call('LRANGE', JOURNAL, 0, -1)}
end
local entries_at = TEXTS_AT + tonumber(chunk_count)
for i = TEXTS_AT, entries_at - 1 do emit(ARGV[i]) end
for i = entries_at, #ARGV do add_entry(ARGV[i], '') end
set('closed', token)
save()
return {'ok', redis.call('LLEN', JOURNAL)}
