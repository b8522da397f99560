-- abort: a durable wish. Attempts see it at their next append, heartbeat or commit; where nothing
-- runs the run ends here; what ignores it is fenced by reconcile after the grace.
-- ARGV 2 reason ('' for none)
local state = load_run()
if state then return {state} end
if ENDED[run.status] then return {'over'} end
if not run.abort_at then
  set('abort_at', now)
  if ARGV[2] ~= '' then set('abort_reason', ARGV[2]) end
end
if not has_running() then abort_run() end
save()
return {'ok'}
