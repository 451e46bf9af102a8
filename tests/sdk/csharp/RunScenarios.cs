// Carries out the scenarios with Microsoft.Graph for .NET, signed in by Azure.Identity: the application by its secret, the
// user on a device.
//
// Not run where NuGet is out of reach: then it is read, and kept in step with the other runners.

using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text.Json;
using System.Text.Json.Nodes;
using Azure.Core;
using Azure.Identity;
using Microsoft.Graph;
using Microsoft.Graph.Authentication;
using Microsoft.Graph.Communications.GetPresencesByUserId;
using Microsoft.Graph.Models;
using Microsoft.Graph.Models.ODataErrors;
using Microsoft.Graph.Users.Item.Presence.ClearPresence;
using Microsoft.Graph.Users.Item.Presence.SetPresence;
using Microsoft.Graph.Users.Item.Presence.SetStatusMessage;
using Microsoft.Graph.Users.Item.Presence.SetUserPreferredPresence;
using Microsoft.Kiota.Abstractions;
using Microsoft.Kiota.Abstractions.Serialization;
using Microsoft.Kiota.Serialization.Json;

var url = Read("PRESENCED_URL");
var clients = new Dictionary<string, GraphServiceClient>
{
    ["app"] = Connect(new ClientSecretCredential(
        Read("AZURE_TENANT_ID"), Read("AZURE_CLIENT_ID"), Read("AZURE_CLIENT_SECRET"),
        new ClientSecretCredentialOptions { AuthorityHost = new Uri(Read("AZURE_AUTHORITY_HOST")), DisableInstanceDiscovery = true })),
    ["user"] = Connect(new DeviceCodeCredential(new DeviceCodeCredentialOptions
    {
        AuthorityHost = new Uri(Read("AZURE_AUTHORITY_HOST")),
        TenantId = Read("AZURE_TENANT_ID"),
        ClientId = Read("AZURE_CLIENT_ID"),
        DisableInstanceDiscovery = true,
        DeviceCodeCallback = Agree,
    })),
};
using var emulator = new HttpClient();

var scenarios = JsonNode.Parse(File.ReadAllText(args[0]))!.AsArray();
for (var scenario = 0; scenario < scenarios.Count; scenario++)
{
    var steps = scenarios[scenario]!["steps"]!.AsArray();
    for (var number = 0; number < steps.Count; number++)
    {
        var step = steps[number]!.AsObject();
        if (step.ContainsKey("control"))
        {
            var body = new StringContent(step["body"]!.ToJsonString(), System.Text.Encoding.UTF8, "application/json");
            await emulator.PostAsync($"{Read("PRESENCED_HTTP_URL")}/_presenced/v1/{step["control"]}", body);
            continue;
        }
        var line = new JsonObject { ["scenario"] = scenario, ["step"] = number };
        try
        {
            line["result"] = await CarryOut(clients[(string)step["as"]!], step);
        }
        catch (NotSupportedException reason)
        {
            line["unsupported"] = reason.Message;
        }
        catch (ODataError error)
        {
            line["error"] = new JsonObject
            {
                ["status"] = error.ResponseStatusCode,
                ["code"] = error.Error?.Code,
                ["message"] = error.Error?.Message,
                ["requestId"] = error.Error?.InnerError?.RequestId,
            };
        }
        Console.WriteLine(line.ToJsonString());
    }
}

// What user A does in a browser: enters the device's code, chooses herself, and agrees.
static async Task Agree(DeviceCodeInfo device, CancellationToken cancel)
{
    using var browser = new HttpClient();
    var form = new Dictionary<string, string>
    {
        ["user"] = "ana.fuentes@presenced.example",
        ["decision"] = "agree",
        ["user_code"] = device.UserCode,
    };
    using var answer = await browser.PostAsync(device.VerificationUri, new FormUrlEncodedContent(form), cancel);
    answer.EnsureSuccessStatusCode();
}

static string Read(string name) => Environment.GetEnvironmentVariable(name) ?? throw new InvalidOperationException(name);

GraphServiceClient Connect(TokenCredential credential)
{
    var scopes = new[] { "https://graph.microsoft.com/.default" };
    var provider = new AzureIdentityAuthenticationProvider(credential, allowedHosts: [new Uri(url).Host], scopes: scopes);
    return new GraphServiceClient(provider, $"{url}/v1.0");
}

static async Task SeedSnippet(GraphServiceClient graphClient)
{
    var requestBody = new ClearPresencePostRequestBody
    {
        SessionId = "22553876-f5ab-4529-bffb-cfe50aa89f87",
    };

    // To initialize your graphClient, see https://learn.microsoft.com/en-us/graph/sdks/create-client?from=snippets&tabs=csharp
    await graphClient.Users["fa8bf3dc-eca7-46b7-bad1-db199b62afc3"].Presence.ClearPresence.PostAsync(requestBody);
}

static async Task<JsonNode?> CarryOut(GraphServiceClient graph, JsonObject step)
{
    switch ((string)step["do"]!)
    {
        case "getPresence":
            return (string)step["at"]! == "communications"
                ? OnTheWire(await graph.Communications.Presences[(string)step["user"]!].GetAsync())
                : OnTheWire(await PresenceOf(graph, step).GetAsync());
        case "getPresencesByUserId":
            var ids = step["with"]!["ids"]!.AsArray().Select(id => (string)id!).ToList();
            var found = await graph.Communications.GetPresencesByUserId
                .PostAsGetPresencesByUserIdPostResponseAsync(new GetPresencesByUserIdPostRequestBody { Ids = ids });
            return new JsonArray(found!.Value!.Select(OnTheWire).ToArray());
        case "getUser":
            return OnTheWire((string)step["at"]! == "me"
                ? await graph.Me.GetAsync()
                : await graph.Users[(string)step["user"]!].GetAsync());
        case "listUsers":
            return new JsonArray((await graph.Users.GetAsync())!.Value!.Select(OnTheWire).ToArray());
        case "createSubscription":
            var created = await graph.Subscriptions.PostAsync(SubscriptionBody(step["with"]!));
            Subscribed.Id = created!.Id!;
            return OnTheWire(created);
        case "listSubscriptions":
            return new JsonArray((await graph.Subscriptions.GetAsync())!.Value!.Select(OnTheWire).ToArray());
        case "getSubscription":
            return OnTheWire(await graph.Subscriptions[Subscribed.Id].GetAsync());
        case "updateSubscription":
            return OnTheWire(await graph.Subscriptions[Subscribed.Id].PatchAsync(SubscriptionBody(step["with"]!)));
        case "reauthorizeSubscription":
            await graph.Subscriptions[Subscribed.Id].Reauthorize.PostAsync();
            return null;
        case "deleteSubscription":
            await graph.Subscriptions[Subscribed.Id].DeleteAsync();
            return null;
        case "receive":
            return await Receive(step["with"]!.AsObject());
        case "seedSnippet":
            await SeedSnippet(graph);
            return null;
        case "batch":
            return await Batch(graph, step["requests"]!.AsArray());
        default:
            await Act(graph, step);
            return null;
    }
}

static Microsoft.Graph.Users.Item.Presence.PresenceRequestBuilder PresenceOf(GraphServiceClient graph, JsonObject step) =>
    (string)step["at"]! == "me" ? graph.Me.Presence : graph.Users[(string)step["user"]!].Presence;

static async Task Act(GraphServiceClient graph, JsonObject step)
{
    var given = step["with"]?.AsObject() ?? [];
    var action = (string)step["do"]!;
    // The builders below /communications take bodies of other names; WithUrl sends ours there.
    var elsewhere = (string)step["at"]! == "communications"
        ? $"{graph.RequestAdapter.BaseUrl}/communications/presences/{step["user"]}/{action}"
        : null;
    var presence = PresenceOf(graph, step);
    switch (action)
    {
        case "setPresence":
            var set = elsewhere is null ? presence.SetPresence : presence.SetPresence.WithUrl(elsewhere);
            await set.PostAsync(Session(given));
            break;
        case "clearPresence":
            var clear = elsewhere is null ? presence.ClearPresence : presence.ClearPresence.WithUrl(elsewhere);
            await clear.PostAsync(new ClearPresencePostRequestBody { SessionId = (string?)given["sessionId"] });
            break;
        case "setUserPreferredPresence":
            var prefer = elsewhere is null ? presence.SetUserPreferredPresence : presence.SetUserPreferredPresence.WithUrl(elsewhere);
            await prefer.PostAsync(new SetUserPreferredPresencePostRequestBody
            {
                Availability = (string?)given["availability"],
                Activity = (string?)given["activity"],
                ExpirationDuration = Duration(given),
            });
            break;
        case "clearUserPreferredPresence":
            var unprefer = elsewhere is null ? presence.ClearUserPreferredPresence : presence.ClearUserPreferredPresence.WithUrl(elsewhere);
            await unprefer.PostAsync();
            break;
        case "setStatusMessage":
            var say = elsewhere is null ? presence.SetStatusMessage : presence.SetStatusMessage.WithUrl(elsewhere);
            await say.PostAsync(new SetStatusMessagePostRequestBody { StatusMessage = StatusMessageBody(given) });
            break;
        default:
            throw new NotSupportedException($"this Microsoft.Graph has no {action}");
    }
}

static SetPresencePostRequestBody Session(JsonObject given) => new()
{
    SessionId = (string?)given["sessionId"],
    Availability = (string?)given["availability"],
    Activity = (string?)given["activity"],
    ExpirationDuration = Duration(given),
};

static TimeSpan? Duration(JsonObject given) =>
    (string?)given["expirationDuration"] is { } text ? System.Xml.XmlConvert.ToTimeSpan(text) : null;

static PresenceStatusMessage StatusMessageBody(JsonObject given)
{
    var note = given["statusMessage"]!;
    var ends = note["expiryDateTime"];
    return new PresenceStatusMessage
    {
        Message = new ItemBody
        {
            Content = (string?)note["message"]!["content"],
            ContentType = Enum.Parse<BodyType>((string)note["message"]!["contentType"]!, ignoreCase: true),
        },
        ExpiryDateTime = ends is null
            ? null
            : new DateTimeTimeZone { DateTime = (string?)ends["dateTime"], TimeZone = (string?)ends["timeZone"] },
    };
}

static Subscription SubscriptionBody(JsonNode given) => new()
{
    ChangeType = (string?)given["changeType"],
    Resource = (string?)given["resource"],
    NotificationUrl = (string?)given["notificationUrl"],
    ClientState = (string?)given["clientState"],
    ExpirationDateTime = DateTimeOffset.Parse((string)given["expirationDateTime"]!),
    IncludeResourceData = (bool?)given["includeResourceData"],
    EncryptionCertificate = (string?)given["encryptionCertificate"],
    EncryptionCertificateId = (string?)given["encryptionCertificateId"],
};

// The next notification at the receiver, validated and decrypted by the SDK's own means where there is a key.
static async Task<JsonNode?> Receive(JsonObject given)
{
    using var receiver = new HttpClient();
    using var posted = JsonDocument.Parse(await receiver.GetStringAsync((string)given["url"]!));
    var node = new JsonParseNode(posted.RootElement);
    var collection = node.GetObjectValue(ChangeNotificationCollection.CreateFromDiscriminatorValue)!;
    var result = OnTheWire(collection)!.AsObject();
    if ((string?)given["key"] is not { } key)
    {
        return result;
    }
    var issuer = Read("PRESENCED_URL");
    result["valid"] = await collection.AreTokensValidAsync(
        new[] { Guid.Parse(Read("PRESENCED_TENANT")) },
        new[] { Guid.Parse(Read("PRESENCED_CLIENT_ID")) },
        $"{issuer}/common/.well-known/openid-configuration",
        new[] { issuer + "/{0}/v2.0" });
    for (var index = 0; index < collection.Value!.Count; index++)
    {
        var content = collection.Value[index].EncryptedContent!;
        var seen = await content.DecryptAsync<Presence>((_, _) => Task.FromResult(Certificate(key)));
        result["value"]![index]!["content"] = OnTheWire(seen);
    }
    return result;
}

// The SDK wants the private key in a certificate; which one around it is nobody's business here.
static X509Certificate2 Certificate(string key)
{
    using var rsa = RSA.Create();
    rsa.ImportFromPem(key);
    var request = new CertificateRequest("CN=receiver", rsa, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
    return request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1));
}

static async Task<JsonNode> Batch(GraphServiceClient graph, JsonArray parts)
{
    var content = new BatchRequestContentCollection(graph);
    var ids = new Dictionary<string, string>();
    foreach (var part in parts.Select(part => part!.AsObject()))
    {
        var presence = PresenceOf(graph, part);
        var request = (string)part["do"]! == "getPresence"
            ? presence.ToGetRequestInformation()
            : presence.SetPresence.ToPostRequestInformation(Session(part["with"]!.AsObject()));
        var before = part["dependsOn"]?.AsArray().Select(id => ids[(string)id!]).ToList();
        var http = await graph.RequestAdapter.ConvertToNativeRequestAsync<HttpRequestMessage>(request);
        var id = (string)part["id"]!;
        content.AddBatchRequestStep(new BatchRequestStep(id, http, before));
        ids[id] = id;
    }
    var answer = await graph.Batch.PostAsync(content);
    var result = new JsonObject();
    foreach (var id in ids.Keys)
    {
        using var response = await answer.GetResponseByIdAsync(id);
        var body = await response.Content.ReadAsStringAsync();
        result[id] = new JsonObject
        {
            ["status"] = (int)response.StatusCode,
            ["body"] = body.Length == 0 ? null : JsonNode.Parse(body),
        };
    }
    return result;
}

/// A typed model in the shape of the wire.
static JsonNode? OnTheWire(IParsable? model)
{
    using var writer = new JsonSerializationWriter();
    writer.WriteObjectValue(null, model);
    using var written = writer.GetSerializedContent();
    var members = JsonNode.Parse(written);
    // A member that only the service writes is read, and never written.
    if (model is Presence { SequenceNumber: { } stamp })
    {
        members!["sequenceNumber"] = stamp;
    }
    return members;
}

/// <summary>The subscription that was made last.</summary>
internal static class Subscribed
{
    internal static string Id { get; set; } = "";
}
