// Carries out the scenarios with microsoft-graph for Java, signed in by azure-identity.

import com.azure.core.credential.AccessToken;
import com.azure.core.credential.TokenCredential;
import com.azure.identity.ClientSecretCredentialBuilder;
import com.google.gson.Gson;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonNull;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.microsoft.graph.communications.getpresencesbyuserid.GetPresencesByUserIdPostRequestBody;
import com.microsoft.graph.core.authentication.AzureIdentityAuthenticationProvider;
import com.microsoft.graph.core.content.BatchRequestContent;
import com.microsoft.graph.models.BodyType;
import com.microsoft.graph.models.DateTimeTimeZone;
import com.microsoft.graph.models.ItemBody;
import com.microsoft.graph.models.Presence;
import com.microsoft.graph.models.PresenceStatusMessage;
import com.microsoft.graph.models.odataerrors.ODataError;
import com.microsoft.graph.serviceclient.GraphServiceClient;
import com.microsoft.kiota.PeriodAndDuration;
import com.microsoft.kiota.RequestAdapter;
import com.microsoft.kiota.RequestInformation;
import com.microsoft.kiota.serialization.JsonSerializationWriter;
import com.microsoft.kiota.serialization.Parsable;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import reactor.core.publisher.Mono;

public final class RunScenarios {
  private static final String URL = System.getenv("PRESENCED_URL");
  private static final HttpClient EMULATOR = HttpClient.newHttpClient();

  /** The client cannot express a step. */
  private static final class Unsupported extends RuntimeException {
    Unsupported(String reason) {
      super(reason);
    }
  }

  public static void main(String[] arguments) throws Exception {
    Map<String, GraphServiceClient> clients = Map.of("app", connect(application()), "user", connect(user()));
    JsonArray scenarios = JsonParser.parseString(Files.readString(Path.of(arguments[0]))).getAsJsonArray();
    for (int scenario = 0; scenario < scenarios.size(); scenario++) {
      JsonArray steps = scenarios.get(scenario).getAsJsonObject().getAsJsonArray("steps");
      for (int number = 0; number < steps.size(); number++) {
        JsonObject step = steps.get(number).getAsJsonObject();
        if (step.has("control")) {
          control(step);
          continue;
        }
        JsonObject line = new JsonObject();
        line.addProperty("scenario", scenario);
        line.addProperty("step", number);
        try {
          line.add("result", carryOut(clients.get(text(step, "as")), step));
        } catch (Unsupported reason) {
          line.addProperty("unsupported", reason.getMessage());
        } catch (ODataError error) {
          line.add("error", refusal(error));
        }
        System.out.println(new Gson().newBuilder().serializeNulls().create().toJson(line));
      }
    }
    // The client keeps threads for connections to come.
    System.exit(0);
  }

  private static TokenCredential application() {
    return new ClientSecretCredentialBuilder()
        .authorityHost(System.getenv("AZURE_AUTHORITY_HOST"))
        .tenantId(System.getenv("AZURE_TENANT_ID"))
        .clientId(System.getenv("AZURE_CLIENT_ID"))
        .clientSecret(System.getenv("AZURE_CLIENT_SECRET"))
        .disableInstanceDiscovery()
        .build();
  }

  private static TokenCredential user() {
    String token = System.getenv("PRESENCED_USER_A_TOKEN");
    return context -> Mono.just(new AccessToken(token, OffsetDateTime.now().plusHours(1)));
  }

  private static GraphServiceClient connect(TokenCredential credential) {
    String[] hosts = {URI.create(URL).getHost()};
    GraphServiceClient graph =
        new GraphServiceClient(
            new AzureIdentityAuthenticationProvider(credential, hosts, "https://graph.microsoft.com/.default"));
    graph.getRequestAdapter().setBaseUrl(URL + "/v1.0");
    return graph;
  }

  private static void control(JsonObject step) throws Exception {
    URI resource = URI.create(System.getenv("PRESENCED_HTTP_URL") + "/_presenced/v1/" + text(step, "control"));
    HttpRequest request =
        HttpRequest.newBuilder(resource)
            .header("Content-Type", "application/json")
            .POST(HttpRequest.BodyPublishers.ofString(step.get("body").toString()))
            .build();
    EMULATOR.send(request, HttpResponse.BodyHandlers.discarding());
  }

  private static void seedSnippet(GraphServiceClient client) {
    RequestAdapter requestAdapter = client.getRequestAdapter();
    GraphServiceClient graphClient = new GraphServiceClient(requestAdapter);
    com.microsoft.graph.users.item.presence.clearpresence.ClearPresencePostRequestBody clearPresencePostRequestBody = new com.microsoft.graph.users.item.presence.clearpresence.ClearPresencePostRequestBody();
    clearPresencePostRequestBody.setSessionId("22553876-f5ab-4529-bffb-cfe50aa89f87");
    graphClient.users().byUserId("fa8bf3dc-eca7-46b7-bad1-db199b62afc3").presence().clearPresence().post(clearPresencePostRequestBody);
  }

  private static JsonElement carryOut(GraphServiceClient graph, JsonObject step) throws Exception {
    switch (text(step, "do")) {
      case "getPresence":
        return onTheWire(
            switch (text(step, "at")) {
              case "me" -> graph.me().presence().get();
              case "users" -> graph.users().byUserId(text(step, "user")).presence().get();
              default -> graph.communications().presences().byPresenceId(text(step, "user")).get();
            });
      case "getPresencesByUserId": {
        var body = new GetPresencesByUserIdPostRequestBody();
        List<String> ids = new ArrayList<>();
        step.getAsJsonObject("with").getAsJsonArray("ids").forEach(id -> ids.add(id.getAsString()));
        body.setIds(ids);
        return all(graph.communications().getPresencesByUserId().post(body).getValue());
      }
      case "getUser":
        return onTheWire(
            text(step, "at").equals("me") ? graph.me().get() : graph.users().byUserId(text(step, "user")).get());
      case "listUsers":
        return all(graph.users().get().getValue());
      case "seedSnippet":
        seedSnippet(graph);
        return JsonNull.INSTANCE;
      case "batch":
        return batch(graph, step);
      default:
        act(graph, step);
        return JsonNull.INSTANCE;
    }
  }

  private static void act(GraphServiceClient graph, JsonObject step) {
    String action = text(step, "do");
    JsonObject given = step.has("with") ? step.getAsJsonObject("with") : new JsonObject();
    if (text(step, "at").equals("communications")) {
      var presence = graph.communications().presences().byPresenceId(text(step, "user"));
      switch (action) {
        case "setPresence" -> {
          var body = new com.microsoft.graph.communications.presences.item.setpresence.SetPresencePostRequestBody();
          body.setSessionId(text(given, "sessionId"));
          body.setAvailability(text(given, "availability"));
          body.setActivity(text(given, "activity"));
          body.setExpirationDuration(duration(given));
          presence.setPresence().post(body);
        }
        case "clearPresence" -> {
          var body = new com.microsoft.graph.communications.presences.item.clearpresence.ClearPresencePostRequestBody();
          body.setSessionId(text(given, "sessionId"));
          presence.clearPresence().post(body);
        }
        case "setUserPreferredPresence" -> {
          var body = new com.microsoft.graph.communications.presences.item.setuserpreferredpresence.SetUserPreferredPresencePostRequestBody();
          body.setAvailability(text(given, "availability"));
          body.setActivity(text(given, "activity"));
          body.setExpirationDuration(duration(given));
          presence.setUserPreferredPresence().post(body);
        }
        case "clearUserPreferredPresence" -> presence.clearUserPreferredPresence().post();
        case "setStatusMessage" -> {
          var body = new com.microsoft.graph.communications.presences.item.setstatusmessage.SetStatusMessagePostRequestBody();
          body.setStatusMessage(statusMessage(given));
          presence.setStatusMessage().post(body);
        }
        default -> throw new Unsupported("microsoft-graph 6.69 has no " + action);
      }
      return;
    }
    var user = text(step, "at").equals("me") ? graph.me() : graph.users().byUserId(text(step, "user"));
    var presence = user.presence();
    switch (action) {
      case "setPresence" -> {
        var body = new com.microsoft.graph.users.item.presence.setpresence.SetPresencePostRequestBody();
        body.setSessionId(text(given, "sessionId"));
        body.setAvailability(text(given, "availability"));
        body.setActivity(text(given, "activity"));
        body.setExpirationDuration(duration(given));
        presence.setPresence().post(body);
      }
      case "clearPresence" -> {
        var body = new com.microsoft.graph.users.item.presence.clearpresence.ClearPresencePostRequestBody();
        body.setSessionId(text(given, "sessionId"));
        presence.clearPresence().post(body);
      }
      case "setUserPreferredPresence" -> {
        var body = new com.microsoft.graph.users.item.presence.setuserpreferredpresence.SetUserPreferredPresencePostRequestBody();
        body.setAvailability(text(given, "availability"));
        body.setActivity(text(given, "activity"));
        body.setExpirationDuration(duration(given));
        presence.setUserPreferredPresence().post(body);
      }
      case "clearUserPreferredPresence" -> presence.clearUserPreferredPresence().post();
      case "setStatusMessage" -> {
        var body = new com.microsoft.graph.users.item.presence.setstatusmessage.SetStatusMessagePostRequestBody();
        body.setStatusMessage(statusMessage(given));
        presence.setStatusMessage().post(body);
      }
      default -> throw new Unsupported("microsoft-graph 6.69 has no " + action);
    }
  }

  private static PeriodAndDuration duration(JsonObject given) {
    String text = text(given, "expirationDuration");
    return text == null ? null : PeriodAndDuration.parse(text);
  }

  private static PresenceStatusMessage statusMessage(JsonObject given) {
    JsonObject note = given.getAsJsonObject("statusMessage");
    JsonObject message = note.getAsJsonObject("message");
    ItemBody body = new ItemBody();
    body.setContent(text(message, "content"));
    body.setContentType(BodyType.forValue(text(message, "contentType")));
    PresenceStatusMessage status = new PresenceStatusMessage();
    status.setMessage(body);
    if (note.has("expiryDateTime")) {
      DateTimeTimeZone ends = new DateTimeTimeZone();
      ends.setDateTime(text(note.getAsJsonObject("expiryDateTime"), "dateTime"));
      ends.setTimeZone(text(note.getAsJsonObject("expiryDateTime"), "timeZone"));
      status.setExpiryDateTime(ends);
    }
    return status;
  }

  /** The SDK's own batch. */
  private static JsonElement batch(GraphServiceClient graph, JsonObject step) throws Exception {
    BatchRequestContent content = new BatchRequestContent(graph);
    Map<String, String> ids = new HashMap<>();
    for (JsonElement element : step.getAsJsonArray("requests")) {
      JsonObject part = element.getAsJsonObject();
      String id = content.addBatchRequestStep(request(graph, part));
      ids.put(text(part, "id"), id);
      if (part.has("dependsOn")) {
        List<String> before = new ArrayList<>();
        part.getAsJsonArray("dependsOn").forEach(one -> before.add(ids.get(one.getAsString())));
        content.getBatchRequestSteps().get(id).setDependsOn(before);
      }
    }
    var answer = graph.getBatchRequestBuilder().post(content, null);
    JsonObject result = new JsonObject();
    for (var entry : ids.entrySet()) {
      var response = answer.getResponseById(entry.getValue());
      JsonObject part = new JsonObject();
      part.addProperty("status", response.code());
      String body = response.body() == null ? "" : response.body().string();
      if (!body.isEmpty()) {
        part.add("body", JsonParser.parseString(body));
      }
      result.add(entry.getKey(), part);
    }
    return result;
  }

  private static RequestInformation request(GraphServiceClient graph, JsonObject part) {
    var user = text(part, "at").equals("me") ? graph.me() : graph.users().byUserId(text(part, "user"));
    switch (text(part, "do")) {
      case "getPresence":
        return user.presence().toGetRequestInformation();
      default: {
        JsonObject given = part.getAsJsonObject("with");
        var body = new com.microsoft.graph.users.item.presence.setpresence.SetPresencePostRequestBody();
        body.setSessionId(text(given, "sessionId"));
        body.setAvailability(text(given, "availability"));
        body.setActivity(text(given, "activity"));
        body.setExpirationDuration(duration(given));
        return user.presence().setPresence().toPostRequestInformation(body);
      }
    }
  }

  private static JsonElement all(List<? extends Parsable> models) throws Exception {
    JsonArray all = new JsonArray();
    for (Parsable model : models) {
      all.add(onTheWire(model));
    }
    return all;
  }

  /** A typed model in the shape of the wire. */
  private static JsonElement onTheWire(Parsable model) throws Exception {
    // Written by hand: the usual helper leaves out what has not changed since it was read.
    JsonSerializationWriter writer = new JsonSerializationWriter();
    writer.writeObjectValue(null, model);
    byte[] written = writer.getSerializedContent().readAllBytes();
    JsonObject members = JsonParser.parseString(new String(written, StandardCharsets.UTF_8)).getAsJsonObject();
    // A member that only the service writes is read, and never written.
    if (model instanceof Presence presence) {
      members.addProperty("sequenceNumber", presence.getSequenceNumber());
    }
    return members;
  }

  private static JsonObject refusal(ODataError error) {
    JsonObject refusal = new JsonObject();
    refusal.addProperty("status", error.getResponseStatusCode());
    refusal.addProperty("code", error.getError().getCode());
    refusal.addProperty("message", error.getError().getMessage());
    refusal.addProperty("requestId", error.getError().getInnerError().getRequestId());
    return refusal;
  }

  private static String text(JsonObject object, String name) {
    JsonElement element = object.get(name);
    return element == null || element.isJsonNull() ? null : element.getAsString();
  }
}
