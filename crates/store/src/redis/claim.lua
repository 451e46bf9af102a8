-- Takes or gives back the sole right to something.
-- KEYS claims
-- ARGV name who ttl_ms want
local held = redis.call('HGET', KEYS[1], ARGV[1])
local who, ends = string.match(held or '', '^(%S+) (%d+)$')
if ARGV[4] == '0' then
  if who == ARGV[2] then
    redis.call('HDEL', KEYS[1], ARGV[1])
  end
  return 0
end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if who and who ~= ARGV[2] and tonumber(ends) > now then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. string.format('%.0f', now + ARGV[3]))
return 1
