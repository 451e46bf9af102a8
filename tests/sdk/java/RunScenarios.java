// Carries out the scenarios with microsoft-graph for Java, signed in by azure-identity: the application by its secret, the user
// on a device.

import com.azure.core.credential.TokenCredential;
import com.azure.identity.ClientSecretCredentialBuilder;
import com.azure.identity.DeviceCodeCredentialBuilder;
import com.google.gson.Gson;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonNull;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.microsoft.graph.communications.getpresencesbyuserid.GetPresencesByUserIdPostRequestBody;
import com.microsoft.graph.communications.presences.item.PresenceItemRequestBuilder;
import com.microsoft.graph.core.authentication.AzureIdentityAuthenticationProvider;
import com.microsoft.graph.core.content.BatchRequestContent;
import com.microsoft.graph.core.models.DecryptableContent;
import com.microsoft.graph.core.models.TokenValidable;
import com.microsoft.graph.models.ChangeNotificationCollection;
import com.microsoft.graph.models.Presence;
import com.microsoft.graph.models.Subscription;
import com.microsoft.graph.models.odataerrors.ODataError;
import com.microsoft.graph.serviceclient.GraphServiceClient;
import com.microsoft.graph.users.item.presence.PresenceRequestBuilder;
import com.microsoft.graph.users.item.presence.clearpresence.ClearPresencePostRequestBody;
import com.microsoft.graph.users.item.presence.setpresence.SetPresencePostRequestBody;
import com.microsoft.graph.users.item.presence.setstatusmessage.SetStatusMessagePostRequestBody;
import com.microsoft.graph.users.item.presence.setuserpreferredpresence.SetUserPreferredPresencePostRequestBody;
import com.microsoft.kiota.RequestAdapter;
import com.microsoft.kiota.RequestInformation;
import com.microsoft.kiota.serialization.JsonParseNodeFactory;
import com.microsoft.kiota.serialization.JsonSerializationWriter;
import com.microsoft.kiota.serialization.Parsable;
import com.microsoft.kiota.serialization.ParsableFactory;
import java.io.ByteArrayInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.PrivateKey;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;

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
    return new DeviceCodeCredentialBuilder()
        .authorityHost(System.getenv("AZURE_AUTHORITY_HOST"))
        .tenantId(System.getenv("AZURE_TENANT_ID"))
        .clientId(System.getenv("AZURE_CLIENT_ID"))
        .disableInstanceDiscovery()
        .challengeConsumer(device -> agree(device.getVerificationUrl(), device.getUserCode()))
        .build();
  }

  /** What user A does in a browser: enters the device's code, chooses herself, and agrees. */
  private static void agree(String page, String code) {
    String form = "user=ana.fuentes%40presenced.example&decision=agree&user_code=" + code;
    HttpRequest request =
        HttpRequest.newBuilder(URI.create(page))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .POST(HttpRequest.BodyPublishers.ofString(form))
            .build();
    EMULATOR.sendAsync(request, HttpResponse.BodyHandlers.discarding()).join();
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
              case "communications" -> graph.communications().presences().byPresenceId(text(step, "user")).get();
              default -> presence(graph, step).get();
            });
      case "getPresencesByUserId": {
        var body = model(step.get("with"), GetPresencesByUserIdPostRequestBody::createFromDiscriminatorValue);
        return all(graph.communications().getPresencesByUserId().post(body).getValue());
      }
      case "getUser":
        return onTheWire(
            text(step, "at").equals("me") ? graph.me().get() : graph.users().byUserId(text(step, "user")).get());
      case "listUsers":
        return all(graph.users().get().getValue());
      case "createSubscription":
        return createSubscription(graph, step.getAsJsonObject("with"));
      case "listSubscriptions":
        return all(graph.subscriptions().get().getValue());
      case "getSubscription":
        return onTheWire(graph.subscriptions().bySubscriptionId(subscribed).get());
      case "updateSubscription": {
        Subscription later = model(step.get("with"), Subscription::createFromDiscriminatorValue);
        return onTheWire(graph.subscriptions().bySubscriptionId(subscribed).patch(later));
      }
      case "reauthorizeSubscription":
        graph.subscriptions().bySubscriptionId(subscribed).reauthorize().post();
        return JsonNull.INSTANCE;
      case "deleteSubscription":
        graph.subscriptions().bySubscriptionId(subscribed).delete();
        return JsonNull.INSTANCE;
      case "receive":
        return receive(step.getAsJsonObject("with"));
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

  private static void act(GraphServiceClient graph, JsonObject step) throws Exception {
    JsonObject given = step.has("with") ? step.getAsJsonObject("with") : new JsonObject();
    if (text(step, "at").equals("communications")) {
      actAtCommunications(graph.communications().presences().byPresenceId(text(step, "user")), text(step, "do"), given);
    } else {
      act(presence(graph, step), text(step, "do"), given);
    }
  }

  private static PresenceRequestBuilder presence(GraphServiceClient graph, JsonObject step) {
    boolean isOwn = text(step, "at").equals("me");
    return isOwn ? graph.me().presence() : graph.users().byUserId(text(step, "user")).presence();
  }

  private static void act(PresenceRequestBuilder presence, String action, JsonObject given) throws Exception {
    switch (action) {
      case "setPresence" ->
          presence.setPresence().post(model(given, SetPresencePostRequestBody::createFromDiscriminatorValue));
      case "clearPresence" ->
          presence.clearPresence().post(model(given, ClearPresencePostRequestBody::createFromDiscriminatorValue));
      case "setUserPreferredPresence" ->
          presence
              .setUserPreferredPresence()
              .post(model(given, SetUserPreferredPresencePostRequestBody::createFromDiscriminatorValue));
      case "clearUserPreferredPresence" -> presence.clearUserPreferredPresence().post();
      case "setStatusMessage" ->
          presence
              .setStatusMessage()
              .post(model(given, SetStatusMessagePostRequestBody::createFromDiscriminatorValue));
      default -> throw new Unsupported("microsoft-graph 6.69 has no " + action);
    }
  }

  /** The same actions: below /communications their bodies are types of their own. */
  private static void actAtCommunications(PresenceItemRequestBuilder presence, String action, JsonObject given)
      throws Exception {
    switch (action) {
      case "setPresence" ->
          presence
              .setPresence()
              .post(
                  model(
                      given,
                      com.microsoft.graph.communications.presences.item.setpresence.SetPresencePostRequestBody
                          ::createFromDiscriminatorValue));
      case "clearPresence" ->
          presence
              .clearPresence()
              .post(
                  model(
                      given,
                      com.microsoft.graph.communications.presences.item.clearpresence.ClearPresencePostRequestBody
                          ::createFromDiscriminatorValue));
      case "setUserPreferredPresence" ->
          presence
              .setUserPreferredPresence()
              .post(
                  model(
                      given,
                      com.microsoft.graph.communications.presences.item.setuserpreferredpresence
                              .SetUserPreferredPresencePostRequestBody::createFromDiscriminatorValue));
      case "clearUserPreferredPresence" -> presence.clearUserPreferredPresence().post();
      case "setStatusMessage" ->
          presence
              .setStatusMessage()
              .post(
                  model(
                      given,
                      com.microsoft.graph.communications.presences.item.setstatusmessage.SetStatusMessagePostRequestBody
                          ::createFromDiscriminatorValue));
      default -> throw new Unsupported("microsoft-graph 6.69 has no " + action);
    }
  }

  /** What a user would write with setters, made of a scenario's JSON by the SDK's own reader. */
  private static <T extends Parsable> T model(JsonElement given, ParsableFactory<T> factory) throws Exception {
    var bytes = new ByteArrayInputStream(given.toString().getBytes(StandardCharsets.UTF_8));
    return new JsonParseNodeFactory().getParseNode("application/json", bytes).getObjectValue(factory);
  }

  /** The id of the subscription that was made last. */
  private static String subscribed = "";

  private static JsonElement createSubscription(GraphServiceClient graph, JsonObject given) throws Exception {
    Subscription created = graph.subscriptions().post(model(given, Subscription::createFromDiscriminatorValue));
    subscribed = created.getId();
    return onTheWire(created);
  }

  /** The next notification at the receiver, validated and decrypted by the SDK's own means where there is a key. */
  private static JsonElement receive(JsonObject given) throws Exception {
    HttpRequest request = HttpRequest.newBuilder(URI.create(text(given, "url"))).build();
    JsonElement posted = JsonParser.parseString(EMULATOR.send(request, HttpResponse.BodyHandlers.ofString()).body());
    var collection = model(posted, ChangeNotificationCollection::createFromDiscriminatorValue);
    JsonObject result = onTheWire(collection).getAsJsonObject();
    String key = text(given, "key");
    if (key == null) {
      return result;
    }
    List<UUID> tenants = List.of(UUID.fromString(System.getenv("PRESENCED_TENANT")));
    List<UUID> applications = List.of(UUID.fromString(System.getenv("PRESENCED_CLIENT_ID")));
    String keys = URL + "/common/discovery/v2.0/keys";
    result.addProperty("valid", TokenValidable.areTokensValid(collection, tenants, applications, keys));
    String base64 = key.replaceAll("-----[A-Z ]+-----|\\s", "");
    var spec = new PKCS8EncodedKeySpec(Base64.getDecoder().decode(base64));
    PrivateKey privateKey = KeyFactory.getInstance("RSA").generatePrivate(spec);
    for (int index = 0; index < collection.getValue().size(); index++) {
      var content = collection.getValue().get(index).getEncryptedContent();
      Presence seen =
          DecryptableContent.decrypt(content, (id, thumbprint) -> privateKey, Presence::createFromDiscriminatorValue);
      result.getAsJsonArray("value").get(index).getAsJsonObject().add("content", onTheWire(seen));
    }
    return result;
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

  private static RequestInformation request(GraphServiceClient graph, JsonObject part) throws Exception {
    PresenceRequestBuilder presence = presence(graph, part);
    return text(part, "do").equals("getPresence")
        ? presence.toGetRequestInformation()
        : presence
            .setPresence()
            .toPostRequestInformation(model(part.get("with"), SetPresencePostRequestBody::createFromDiscriminatorValue));
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
