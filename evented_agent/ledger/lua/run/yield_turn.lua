-- yield_turn: another run of the thread wants the turn of this one, which only waits.
-- number is that of its entry in the thread, which no longer counts then.
-- INCLUDE record tasks
-- KEYS run
-- ARGV run_id number
-- RETURNS ok | busy | deleted | missing
local state = load_run()
if state then return {state} end
mend_live()
for _, key in ipairs(run.live) do
  local task = get_task(key)
  if not task.branch and not is_deferred(task) and task.kind ~= 'hook' and not only_asks(task) then
    return {'busy'}
  end
end
if not ENDED[run.status] then
  set('yielded', number)
  flush()
end
return {'ok'}
