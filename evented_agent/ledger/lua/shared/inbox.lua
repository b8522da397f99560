-- inbox: messages to a run that is under way, until a completed model call has had them.
-- Of each the record has where it is in the journal, its id, and whether it waits for decisions of
-- people; a run without messages has no such field.
-- INCLUDE tasks

-- What the model had been shown of the journal when it made the turn that is committed now.
local function take_seen(seen)
  local rest = {}
  for _, each in ipairs(run.inbox or {}) do
    if each[1] >= seen then rest[#rest + 1] = each end
  end
  if run.inbox then set('inbox', rest) end
end

-- The run ends: what no completed model call has had is told to readers, before its last chunk.
local function drop_messages(reason)
  local ids = {}
  for _, each in ipairs(run.inbox or {}) do ids[#ids + 1] = each[2] end
  if #ids == 0 then return end
  emit_new('message-dropped', nil, {messageIds = ids, reason = reason})
  add_entry(cjson.encode({k = 'dropped', ids = ids}), '')
  set('inbox', {})
end

-- The step goes on without this call: a person may decide about it at any time.
local function put_off(key, task)
  task.bg, task.put_off = 'deferred', true
  put_task(key, task)
  emit_new('tool-call-deferred', nil, {toolCallId = task.call, toolName = task.tool})
  add_entry(cjson.encode({k = 'result', step = task.step, call = task.call, name = task.tool,
    result = 'This call waits for a decision of a person. You will be told what comes of it.',
    placeholder = true}), '')
end

-- No message waits for a person: where people are all that a step waits for, their calls are put
-- off, and an end task lets the model answer.
local function answer_meanwhile(sends)
  local waits = false
  for _, each in ipairs(run.inbox or {}) do waits = waits or not each[3] end
  if not waits or is_over() or is_aborting() then return end
  local asking = {}
  for _, key in ipairs(run.live) do
    local task = get_task(key)
    if not task.branch and not is_deferred(task) and task.kind ~= 'hook' then
      if not only_asks(task) then return end
      asking[#asking + 1] = key
    end
  end
  for _, key in ipairs(asking) do put_off(key, get_task(key)) end
  has_news[''] = true
  local due = sends or {}
  queue_end(due, '')
  if not sends and due[1] then leave_unsent(due[1].key) end
end
