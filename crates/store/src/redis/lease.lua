-- Takes, keeps or gives back the lease of a bucket.
-- KEYS meta
-- ARGV node ttl_ms want
local lease = redis.call('HMGET', KEYS[1], 'owner', 'token', 'until')
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if lease[1] == ARGV[1] then
  if ARGV[3] == '0' then
    redis.call('HDEL', KEYS[1], 'owner', 'until')
    return {0}
  end
  redis.call('HSET', KEYS[1], 'until', string.format('%.0f', now + ARGV[2]))
  return {1, lease[2]}
end
if ARGV[3] == '0' or (lease[1] and tonumber(lease[3]) > now) then
  return {0}
end
local token = string.format('%.0f', tonumber(lease[2] or '0') + 1)
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'token', token, 'until', string.format('%.0f', now + ARGV[2]))
return {1, token}
