<?php

// Carries out the scenarios with microsoft/microsoft-graph for PHP, signed in by the SDK's own token request.
//
// Not run where Packagist is out of reach: then it is read, and kept in step with the other runners.

require __DIR__ . '/vendor/autoload.php';

use GuzzleHttp\Client;
use League\OAuth2\Client\Provider\GenericProvider;
use Microsoft\Graph\Generated\Communications\GetPresencesByUserId\GetPresencesByUserIdPostRequestBody;
use Microsoft\Graph\Generated\Models\BodyType;
use Microsoft\Graph\Generated\Models\DateTimeTimeZone;
use Microsoft\Graph\Generated\Models\ItemBody;
use Microsoft\Graph\Generated\Models\ODataErrors\ODataError;
use Microsoft\Graph\Generated\Models\Presence;
use Microsoft\Graph\Generated\Models\PresenceStatusMessage;
use Microsoft\Graph\Generated\Users\Item\Presence\ClearPresence\ClearPresencePostRequestBody;
use Microsoft\Graph\Generated\Users\Item\Presence\SetPresence\SetPresencePostRequestBody;
use Microsoft\Graph\Generated\Users\Item\Presence\SetStatusMessage\SetStatusMessagePostRequestBody;
use Microsoft\Graph\Generated\Users\Item\Presence\SetUserPreferredPresence\SetUserPreferredPresencePostRequestBody;
use Microsoft\Graph\GraphRequestAdapter;
use Microsoft\Graph\GraphServiceClient;
use Microsoft\Kiota\Abstractions\Authentication\AllowedHostsValidator;
use Microsoft\Kiota\Abstractions\Authentication\BaseBearerTokenAuthenticationProvider;
use Microsoft\Kiota\Abstractions\Authentication\AccessTokenProvider;
use Http\Promise\FulfilledPromise;
use Http\Promise\Promise;
use Microsoft\Kiota\Serialization\Json\JsonSerializationWriter;

final class Unsupported extends RuntimeException
{
}

/** Tokens from presenced: by the client credentials grant, or one it was given. */
final class Tokens implements AccessTokenProvider
{
    private ?string $token;

    public function __construct(?string $token = null)
    {
        $this->token = $token;
    }

    public function getAuthorizationTokenAsync(string $url, array $additionalAuthenticationContext = []): Promise
    {
        $this->token ??= (new GenericProvider([
            'clientId' => getenv('AZURE_CLIENT_ID'),
            'clientSecret' => getenv('AZURE_CLIENT_SECRET'),
            'urlAuthorize' => '',
            'urlResourceOwnerDetails' => '',
            'urlAccessToken' => getenv('PRESENCED_URL') . '/' . getenv('AZURE_TENANT_ID') . '/oauth2/v2.0/token',
        ]))->getAccessToken('client_credentials', ['scope' => 'https://graph.microsoft.com/.default'])->getToken();
        return new FulfilledPromise($this->token);
    }

    public function getAllowedHostsValidator(): AllowedHostsValidator
    {
        return new AllowedHostsValidator(['localhost']);
    }
}

function connect(Tokens $tokens): GraphServiceClient
{
    $adapter = new GraphRequestAdapter(new BaseBearerTokenAuthenticationProvider($tokens));
    $adapter->setBaseUrl(getenv('PRESENCED_URL') . '/v1.0');
    return GraphServiceClient::createWithRequestAdapter($adapter);
}

function seedSnippet(GraphServiceClient $graphServiceClient): void
{
    $requestBody = new ClearPresencePostRequestBody();
    $requestBody->setSessionId('22553876-f5ab-4529-bffb-cfe50aa89f87');

    $graphServiceClient->users()->byUserId('fa8bf3dc-eca7-46b7-bad1-db199b62afc3')->presence()->clearPresence()->post($requestBody)->wait();
}

function presence(GraphServiceClient $graph, array $step)
{
    return match ($step['at']) {
        'me' => $graph->me()->presence(),
        'users' => $graph->users()->byUserId($step['user'])->presence(),
        'communications' => $graph->communications()->presences()->byPresenceId($step['user']),
    };
}

function duration(array $given): ?DateInterval
{
    return isset($given['expirationDuration']) ? new DateInterval($given['expirationDuration']) : null;
}

function statusMessage(array $given): PresenceStatusMessage
{
    $note = $given['statusMessage'];
    $message = new ItemBody();
    $message->setContent($note['message']['content']);
    $message->setContentType(new BodyType($note['message']['contentType']));
    $status = new PresenceStatusMessage();
    $status->setMessage($message);
    if (isset($note['expiryDateTime'])) {
        $ends = new DateTimeTimeZone();
        $ends->setDateTime($note['expiryDateTime']['dateTime']);
        $ends->setTimeZone($note['expiryDateTime']['timeZone']);
        $status->setExpiryDateTime($ends);
    }
    return $status;
}

function act(GraphServiceClient $graph, array $step): void
{
    $at = presence($graph, $step);
    $given = $step['with'] ?? [];
    if ($step['at'] === 'communications' && $step['do'] !== 'clearUserPreferredPresence') {
        // Below /communications the same bodies have names of their own.
        $body = fn (string $class) => new (str_replace('Users\\Item\\Presence', 'Communications\\Presences\\Item', $class))();
    } else {
        $body = fn (string $class) => new $class();
    }
    switch ($step['do']) {
        case 'setPresence':
            $session = $body(SetPresencePostRequestBody::class);
            $session->setSessionId($given['sessionId'] ?? null);
            $session->setAvailability($given['availability'] ?? null);
            $session->setActivity($given['activity'] ?? null);
            $session->setExpirationDuration(duration($given));
            $at->setPresence()->post($session)->wait();
            break;
        case 'clearPresence':
            $session = $body(ClearPresencePostRequestBody::class);
            $session->setSessionId($given['sessionId'] ?? null);
            $at->clearPresence()->post($session)->wait();
            break;
        case 'setUserPreferredPresence':
            $preferred = $body(SetUserPreferredPresencePostRequestBody::class);
            $preferred->setAvailability($given['availability'] ?? null);
            $preferred->setActivity($given['activity'] ?? null);
            $preferred->setExpirationDuration(duration($given));
            $at->setUserPreferredPresence()->post($preferred)->wait();
            break;
        case 'clearUserPreferredPresence':
            $at->clearUserPreferredPresence()->post()->wait();
            break;
        case 'setStatusMessage':
            $note = $body(SetStatusMessagePostRequestBody::class);
            $note->setStatusMessage(statusMessage($given));
            $at->setStatusMessage()->post($note)->wait();
            break;
        default:
            throw new Unsupported("this microsoft-graph has no {$step['do']}");
    }
}

/** A typed model in the shape of the wire. */
function onTheWire($model): array
{
    $writer = new JsonSerializationWriter();
    $writer->writeObjectValue(null, $model);
    $members = json_decode((string) $writer->getSerializedContent(), true);
    // A member that only the service writes is read, and never written.
    if ($model instanceof Presence && method_exists($model, 'getSequenceNumber')) {
        $members['sequenceNumber'] = $model->getSequenceNumber();
    }
    return $members;
}

function carryOut(GraphServiceClient $graph, array $step)
{
    switch ($step['do']) {
        case 'getPresence':
            return onTheWire(presence($graph, $step)->get()->wait());
        case 'getPresencesByUserId':
            $body = new GetPresencesByUserIdPostRequestBody();
            $body->setIds($step['with']['ids']);
            return array_map(onTheWire(...), $graph->communications()->getPresencesByUserId()->post($body)->wait()->getValue());
        case 'getUser':
            $user = $step['at'] === 'me' ? $graph->me() : $graph->users()->byUserId($step['user']);
            return onTheWire($user->get()->wait());
        case 'listUsers':
            return array_map(onTheWire(...), $graph->users()->get()->wait()->getValue());
        case 'seedSnippet':
            seedSnippet($graph);
            return null;
        case 'batch':
            throw new Unsupported('the runner for PHP sends no batches');
        default:
            act($graph, $step);
            return null;
    }
}

$clients = ['app' => connect(new Tokens()), 'user' => connect(new Tokens(getenv('PRESENCED_USER_A_TOKEN')))];
$emulator = new Client(['base_uri' => getenv('PRESENCED_HTTP_URL') . '/_presenced/v1/']);
foreach (json_decode(file_get_contents($argv[1]), true) as $scenario => ['steps' => $steps]) {
    foreach ($steps as $number => $step) {
        if (isset($step['control'])) {
            $emulator->post($step['control'], ['json' => (object) $step['body']]);
            continue;
        }
        $line = ['scenario' => $scenario, 'step' => $number];
        try {
            $line['result'] = carryOut($clients[$step['as']], $step);
        } catch (Unsupported $reason) {
            $line['unsupported'] = $reason->getMessage();
        } catch (ODataError $error) {
            $line['error'] = [
                'status' => $error->getResponseStatusCode(),
                'code' => $error->getError()->getCode(),
                'message' => $error->getError()->getMessage(),
                'requestId' => $error->getError()->getInnerError()->getRequestId(),
            ];
        }
        echo json_encode($line), "\n";
    }
}
