-- append: adds chunks of a running attempt.
-- sent says how many the attempt had sent before; closing are the chunks that would close what is
-- open now, as a JSON list ('' for as before).
-- INCLUDE record chunks
-- KEYS run
-- ARGV run_id key token sent closing chunks...
-- RETURNS ok signal | deleted | fenced | gap | missing
local state = load_run()
if state then return {state} end
local task = get_task(key)
if not owns(task, token) then return {'fenced'} end
local before = tonumber(sent)
if before > task.sent then return {'gap'} end
-- A repeated append (its reply was lost) finds its chunks counted and writes only the rest.
local skip = task.sent - before
for i = CHUNKS_AT + skip, #ARGV do
  emit(ARGV[i])
  task.first = task.first or run.seq
  task.sent = task.sent + 1
end
if closing ~= '' then task.open = cjson.decode(closing) end
put_task(key, task)
flush()
return {'ok', signal(task)}
