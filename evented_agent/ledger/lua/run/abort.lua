-- abort: somebody wants the run to end; durable from now on.
-- Attempts see it at their next append, heartbeat or commit; where nothing runs the run ends here;
-- what ignores it is fenced by reconcile after the grace. The same token again (the reply may have
-- been lost) gets the same answer. reason may be ''.
-- INCLUDE record tasks status ending
-- KEYS run statuses
-- ARGV run_id reason token
-- RETURNS ok | deleted | missing | over
local state = load_run()
if state then return {state} end
mend_live()
if is_over() then
  return {run.status == 'aborted' and run.abort_by == token and 'ok' or 'over'}
end
if not run.abort_at then
  set('abort_at', now)
  set('abort_by', token)
  if reason ~= '' then set('abort_reason', reason) end
end
if not has_running() then abort_run() end
save()
return {'ok'}
