-- Gives what the log has up to a time, and makes sure that nothing appears there later.
-- KEYS meta log
-- ARGV from up_to max
local floor = redis.call('HGET', KEYS[1], 'floor')
if not floor or tonumber(floor) < tonumber(ARGV[2]) then
  floor = ARGV[2]
end
-- Written also when it does not grow: whoever waits for replicas learns by it that this is still the master.
redis.call('HSET', KEYS[1], 'floor', floor)
local known = redis.call('HMGET', KEYS[1], 'last', 'trimmed')
return {floor, known[1] or '0', known[2] or '0',
  redis.call('XRANGE', KEYS[2], ARGV[1] .. '-0', ARGV[2] .. '-0', 'COUNT', ARGV[3])}
