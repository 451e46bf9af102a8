<?php

// Carries out the scenarios with microsoft/microsoft-graph for PHP, signed in by league/oauth2-client, on which the SDK builds:
// the application by its secret, the user by a code with PKCE.
//
// Not run where Packagist is out of reach: then it is read, and kept in step with the other runners.

require __DIR__ . '/vendor/autoload.php';

use Firebase\JWT\JWK;
use Firebase\JWT\JWT;
use GuzzleHttp\Client;
use League\OAuth2\Client\Provider\GenericProvider;
use Microsoft\Graph\BatchRequestBuilder;
use Microsoft\Graph\Core\Requests\BatchRequestContent;
use Microsoft\Graph\Core\Requests\BatchRequestItem;
use Microsoft\Graph\Generated\Communications\GetPresencesByUserId\GetPresencesByUserIdPostRequestBody;
use Microsoft\Graph\Generated\Models\BodyType;
use Microsoft\Graph\Generated\Models\DateTimeTimeZone;
use Microsoft\Graph\Generated\Models\ItemBody;
use Microsoft\Graph\Generated\Models\ODataErrors\ODataError;
use Microsoft\Graph\Generated\Models\Presence;
use Microsoft\Graph\Generated\Models\PresenceStatusMessage;
use Microsoft\Graph\Generated\Models\Subscription;
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

/** Tokens from presenced: of the application by the client credentials grant, of user A by a code. */
final class Tokens implements AccessTokenProvider
{
    private const SCOPE = 'https://graph.microsoft.com/.default';

    private ?string $token = null;

    public function __construct(private readonly bool $ofUser)
    {
    }

    public function getAuthorizationTokenAsync(string $url, array $additionalAuthenticationContext = []): Promise
    {
        $this->token ??= $this->signIn();
        return new FulfilledPromise($this->token);
    }

    private function signIn(): string
    {
        $endpoints = getenv('PRESENCED_URL') . '/' . getenv('AZURE_TENANT_ID') . '/oauth2/v2.0';
        $provider = new GenericProvider([
            'clientId' => getenv('AZURE_CLIENT_ID'),
            'clientSecret' => getenv('AZURE_CLIENT_SECRET'),
            'redirectUri' => 'http://localhost/signed-in',
            'urlAuthorize' => "$endpoints/authorize",
            'urlAccessToken' => "$endpoints/token",
            'urlResourceOwnerDetails' => '',
            'pkceMethod' => GenericProvider::PKCE_METHOD_S256,
        ]);
        if (!$this->ofUser) {
            return $provider->getAccessToken('client_credentials', ['scope' => self::SCOPE])->getToken();
        }
        // What user A does in a browser: chooses herself, and agrees. The redirect leads to a client that waits for it.
        $answer = (new Client())->post($provider->getAuthorizationUrl(['scope' => self::SCOPE]), [
            'form_params' => ['user' => 'ana.fuentes@presenced.example', 'decision' => 'agree'],
            'allow_redirects' => false,
        ]);
        parse_str(parse_url($answer->getHeaderLine('Location'), PHP_URL_QUERY), $redirect);
        return $provider->getAccessToken('authorization_code', ['code' => $redirect['code']])->getToken();
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
            $at->setPresence()->post(session($given, $body(SetPresencePostRequestBody::class)))->wait();
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

/** The SDK's own batch. */
function batch(GraphServiceClient $graph, array $parts): array
{
    $adapter = $graph->getRequestAdapter();
    $items = [];
    foreach ($parts as $part) {
        $at = presence($graph, $part);
        if ($part['do'] === 'getPresence') {
            $request = $at->toGetRequestInformation();
        } else {
            $request = $at->setPresence()->toPostRequestInformation(session($part['with'], new SetPresencePostRequestBody()));
        }
        // The item takes its address apart, which must be whole for that.
        $request->pathParameters['baseurl'] = $adapter->getBaseUrl();
        $items[] = new BatchRequestItem($request, $part['id'], $part['dependsOn'] ?? null);
    }
    $answer = (new BatchRequestBuilder($adapter))->postAsync(new BatchRequestContent($items))->wait();
    $result = [];
    foreach ($parts as ['id' => $id]) {
        $item = $answer->getResponse($id);
        $body = $item->getBody()?->getContents();
        $result[$id] = ['status' => $item->getStatusCode(), 'body' => $body ? json_decode($body, true) : null];
    }
    return $result;
}

function session(array $given, $body)
{
    $body->setSessionId($given['sessionId'] ?? null);
    $body->setAvailability($given['availability'] ?? null);
    $body->setActivity($given['activity'] ?? null);
    $body->setExpirationDuration(duration($given));
    return $body;
}

function subscription(array $given): Subscription
{
    $body = new Subscription();
    $body->setChangeType($given['changeType'] ?? null);
    $body->setResource($given['resource'] ?? null);
    $body->setNotificationUrl($given['notificationUrl'] ?? null);
    $body->setClientState($given['clientState'] ?? null);
    $body->setExpirationDateTime(new DateTime($given['expirationDateTime']));
    $body->setIncludeResourceData($given['includeResourceData'] ?? null);
    $body->setEncryptionCertificate($given['encryptionCertificate'] ?? null);
    $body->setEncryptionCertificateId($given['encryptionCertificateId'] ?? null);
    return $body;
}

/**
 * The next notification at the receiver. Where a key is given, its tokens are checked and its contents read by the means of
 * php-jwt and openssl: the SDK has none of its own.
 */
function receive(array $given): array
{
    $client = new Client();
    $collection = json_decode((string) $client->get($given['url'])->getBody(), true);
    if (!isset($given['key'])) {
        return $collection;
    }
    $issuer = getenv('PRESENCED_URL');
    $keys = json_decode((string) $client->get("$issuer/common/discovery/v2.0/keys")->getBody(), true);
    foreach ($collection['validationTokens'] as $token) {
        $claims = JWT::decode($token, JWK::parseKeySet($keys, 'RS256'));
        $is = [$claims->aud, $claims->iss, $claims->azp];
        $expected = [getenv('PRESENCED_CLIENT_ID'), "$issuer/" . getenv('PRESENCED_TENANT') . '/v2.0', PUBLISHER];
        if ($is !== $expected) {
            throw new RuntimeException('a token of somebody else');
        }
    }
    foreach ($collection['value'] as &$item) {
        $item['content'] = decrypt($item['encryptedContent'], $given['key']);
    }
    return [...$collection, 'valid' => true];
}

const PUBLISHER = '0bf30f3b-4a52-48df-9a82-234910c4a086';

function decrypt(array $content, string $privateKey): array
{
    openssl_private_decrypt(base64_decode($content['dataKey']), $key, $privateKey, OPENSSL_PKCS1_OAEP_PADDING);
    $data = base64_decode($content['data']);
    if (!hash_equals(hash_hmac('sha256', $data, $key, true), base64_decode($content['dataSignature']))) {
        throw new RuntimeException('the signature is wrong');
    }
    return json_decode(openssl_decrypt($data, 'aes-256-cbc', $key, OPENSSL_RAW_DATA, substr($key, 0, 16)), true);
}

/** The subscription that was made last. */
final class Subscribed
{
    public static string $id = '';
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
            return batch($graph, $step['requests']);
        case 'createSubscription':
            $created = $graph->subscriptions()->post(subscription($step['with']))->wait();
            Subscribed::$id = $created->getId();
            return onTheWire($created);
        case 'listSubscriptions':
            return array_map(onTheWire(...), $graph->subscriptions()->get()->wait()->getValue());
        case 'getSubscription':
            return onTheWire($graph->subscriptions()->bySubscriptionId(Subscribed::$id)->get()->wait());
        case 'updateSubscription':
            $own = $graph->subscriptions()->bySubscriptionId(Subscribed::$id);
            return onTheWire($own->patch(subscription($step['with']))->wait());
        case 'reauthorizeSubscription':
            $graph->subscriptions()->bySubscriptionId(Subscribed::$id)->reauthorize()->post()->wait();
            return null;
        case 'deleteSubscription':
            $graph->subscriptions()->bySubscriptionId(Subscribed::$id)->delete()->wait();
            return null;
        case 'receive':
            return receive($step['with']);
        default:
            act($graph, $step);
            return null;
    }
}

$clients = ['app' => connect(new Tokens(ofUser: false)), 'user' => connect(new Tokens(ofUser: true))];
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
