-- give_up_run: a run that each look at it makes err is failed, whatever its record has become.
-- Decodes and adds up nothing of what is stored, and no refused write keeps the others from being
-- made. failure is the error as JSON, chunk the chunk that tells readers.
-- INCLUDE clock
-- KEYS run statuses
-- ARGV run_id failure chunk
-- RETURNS ok | deleted | missing
local TTL = '604800000'
local function try(...)
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err then return nil end
  return reply
end

-- A whole number as text, or what stands for it.
local function whole(name, otherwise)
  local stored = try('HGET', RUN, name)
  return type(stored) == 'string' and string.match(stored, '^%d+$') and #stored < 16 and stored
    or otherwise
end

try('ZREM', ALARMS, run_id)
try('ZREM', BELLS, run_id)
local values = try('HMGET', RUN, 'status', 'deleted')
if values and values[2] then return {'deleted'} end
if values and not values[1] then return {'missing'} end

local seq, entries = whole('seq', '0'), try('XREVRANGE', TOPIC, '+', '-', 'COUNT', 1)
if entries and entries[1] then seq = string.match(entries[1][1], '^%d+') end
seq = int((tonumber(seq) or 0) + 1)
try('XADD', TOPIC, seq .. '-' .. int(now), 'd', chunk)
-- Without the tasks whoever runs one is fenced.
try('UNLINK', TASKS)
try('HSET', RUN, 'status', 'failed', 'error', failure, 'finish_reason', 'error', 'live', '[]',
  'seq', seq, 'ended', int(now), 'updated', int(now), 'step', whole('step', '1'),
  'v', whole('v', '1'), 'created', whole('created', int(now)))
try('HDEL', RUN, 'failed_tasks', 'inbox')
for _, index in ipairs({QUEUED, RUNNING, SUSPENDED, FINISHED, ABORTED}) do
  try('ZREM', index, run_id)
end
try('ZADD', FAILED, int(now), run_id)
local ttl = whole('ttl_record', TTL)
for _, key in ipairs({RUN, JOURNAL, BLOBS}) do try('PEXPIRE', key, ttl) end
try('PEXPIRE', TOPIC, whole('ttl_topic', ttl))
return {'ok'}
