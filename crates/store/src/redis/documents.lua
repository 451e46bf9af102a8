-- Puts and deletes documents of one bucket, all of them or none.
-- KEYS meta document-log documents of each kind...
-- ARGV owner token keep nonce, then for each document: kind, key, 1 and its body or 0 and nothing
-- A change has a number, which an engine that lost some gives again, and a nonce, which it does not.
if ARGV[1] ~= '' then
  local lease = redis.call('HMGET', KEYS[1], 'owner', 'token')
  if lease[1] ~= ARGV[1] or lease[2] ~= ARGV[2] then
    return redis.error_reply('FENCED the lease has gone to somebody else')
  end
end
for at = 5, #ARGV, 4 do
  local kind, key = tonumber(ARGV[at]), ARGV[at + 1]
  if ARGV[at + 2] == '1' and kind == 6 then
    -- A secret that was made once stays: of two nodes that make it at the same moment one wins.
    redis.call('HSETNX', KEYS[2 + kind], key, ARGV[at + 3])
  elseif ARGV[at + 2] == '1' then
    redis.call('HSET', KEYS[2 + kind], key, ARGV[at + 3])
  else
    redis.call('HDEL', KEYS[2 + kind], key)
  end
  -- Cursors and lifecycle events are their writer's alone: nobody follows them.
  if kind ~= 3 and kind ~= 7 and kind ~= 9 then
    local number = redis.call('HINCRBY', KEYS[1], 'documents', 1)
    local id = string.format('%.0f', number) .. '-' .. ARGV[4]
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], id, 'k', ARGV[at], 'd', key)
    redis.call('HSET', KEYS[1], 'document', id)
  end
end
return 1
