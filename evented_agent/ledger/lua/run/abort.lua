-- abort: a durable wish. Attempts see it at their next append, heartbeat or commit; where nothing
-- runs the run ends here; what ignores it is fenced by reconcile after the grace.
-- ARGV 2 reason ('' for none), 3 token of this wish: asked again after a lost reply, the same answer
local state = load_run()
if state then return {state} end
if ENDED[run.status] then
  return {run.status == 'aborted' and run.abort_by == ARGV[3] and 'ok' or 'over'}
end
if not run.abort_at then
  set('abort_at', now)
  set('abort_by', ARGV[3])
  if ARGV[2] ~= '' then set('abort_reason', ARGV[2]) end
end
if not has_running() then abort_run() end
save()
return {'ok'}
