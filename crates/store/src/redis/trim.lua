-- Forgets what was written longer ago than is retained, by the engine's clock.
-- KEYS meta log
-- ARGV age in microseconds
local clock = redis.call('TIME')
local limit = clock[1] * 1000000 + clock[2] - tonumber(ARGV[1])
if limit <= 0 then
  return 0
end
local text = string.format('%.0f', limit)
local last = redis.call('XREVRANGE', KEYS[2], text, '-', 'COUNT', 1)
if #last == 0 then
  return 0
end
local trimmed = string.match(last[1][1], '^%d+')
redis.call('HSET', KEYS[1], 'trimmed', trimmed)
return redis.call('XTRIM', KEYS[2], 'MINID', string.format('%.0f', tonumber(trimmed) + 1))
