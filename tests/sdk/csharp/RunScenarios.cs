// Carries out the scenarios with Microsoft.Graph for .NET, signed in by Azure.Identity.
//
// Not run where NuGet is out of reach: then it is read, and kept in step with the other runners.

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
    ["user"] = Connect(new ReadyToken(Read("PRESENCED_USER_A_TOKEN"))),
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
                : OnTheWire(await Presence(graph, step).GetAsync());
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

static Microsoft.Graph.Users.Item.Presence.PresenceRequestBuilder Presence(GraphServiceClient graph, JsonObject step) =>
    (string)step["at"]! == "me" ? graph.Me.Presence : graph.Users[(string)step["user"]!].Presence;

static async Task Act(GraphServiceClient graph, JsonObject step)
{
    var given = step["with"]?.AsObject() ?? [];
    var action = (string)step["do"]!;
    // The builders below /communications take bodies of other names; WithUrl sends ours there.
    var elsewhere = (string)step["at"]! == "communications"
        ? $"{graph.RequestAdapter.BaseUrl}/communications/presences/{step["user"]}/{action}"
        : null;
    var presence = Presence(graph, step);
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
            await say.PostAsync(new SetStatusMessagePostRequestBody { StatusMessage = StatusMessage(given) });
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

static PresenceStatusMessage StatusMessage(JsonObject given)
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

static async Task<JsonNode> Batch(GraphServiceClient graph, JsonArray parts)
{
    var content = new BatchRequestContentCollection(graph);
    var ids = new Dictionary<string, string>();
    foreach (var part in parts.Select(part => part!.AsObject()))
    {
        var presence = Presence(graph, part);
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

/// <summary>A credential that holds a token it was given.</summary>
internal sealed class ReadyToken(string token) : TokenCredential
{
    public override AccessToken GetToken(TokenRequestContext context, CancellationToken cancel) =>
        new(token, DateTimeOffset.UtcNow.AddHours(1));

    public override ValueTask<AccessToken> GetTokenAsync(TokenRequestContext context, CancellationToken cancel) =>
        ValueTask.FromResult(GetToken(context, cancel));
}
