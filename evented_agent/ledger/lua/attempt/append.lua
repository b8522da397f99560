-- append: chunks of a running attempt.
-- ARGV 2 task key, 3 token, 4 chunks sent before, 5 chunks that would close what is open now
-- (JSON, '' for as before), 6.. chunks
local key = ARGV[2]
local state = load_run()
if state then return {state} end
local task = get_task(key)
if not owns(task, ARGV[3]) then return {'fenced'} end
local before = tonumber(ARGV[4])
if before > task.sent then return {'gap'} end
-- A repeated append (its reply was lost) finds its chunks counted and writes only the rest.
local skip = task.sent - before
for i = 6 + skip, #ARGV do
  emit(ARGV[i])
  task.first = task.first or run.seq
  task.sent = task.sent + 1
end
if ARGV[5] ~= '' then task.open = cjson.decode(ARGV[5]) end
put_task(key, task)
save_run()
return {'ok', is_aborting() and 1 or 0}
