// Carries out the scenarios with msgraph-sdk-go, signed in by azidentity: the application by its secret, the user on a device.
// The SDK compresses the bodies of its requests.
package main

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/golang-jwt/jwt/v5"
	abstractions "github.com/microsoft/kiota-abstractions-go"
	"github.com/microsoft/kiota-abstractions-go/serialization"
	auth "github.com/microsoft/kiota-authentication-azure-go"
	jsonserialization "github.com/microsoft/kiota-serialization-json-go"
	msgraphsdk "github.com/microsoftgraph/msgraph-sdk-go"
	graphcore "github.com/microsoftgraph/msgraph-sdk-go-core"
	"github.com/microsoftgraph/msgraph-sdk-go/communications"
	"github.com/microsoftgraph/msgraph-sdk-go/models"
	"github.com/microsoftgraph/msgraph-sdk-go/models/odataerrors"
	graphusers "github.com/microsoftgraph/msgraph-sdk-go/users"
)

type step struct {
	Control   string          `json:"control"`
	Body      json.RawMessage `json:"body"`
	Do        string          `json:"do"`
	As        string          `json:"as"`
	At        string          `json:"at"`
	User      string          `json:"user"`
	ID        string          `json:"id"`
	DependsOn []string        `json:"dependsOn"`
	Requests  []step          `json:"requests"`
	With      json.RawMessage `json:"with"`
}

// The client cannot express a step.
type unsupported string

func (reason unsupported) Error() string { return string(reason) }

var background = context.Background()

func main() {
	graphs := map[string]*graph{
		"app":  connect(application()),
		"user": connect(user()),
	}
	var scenarios []struct{ Steps []step }
	must(json.Unmarshal(check(os.ReadFile(os.Args[1])), &scenarios))
	for scenario, one := range scenarios {
		throttled := false
		for number, step := range one.Steps {
			if step.Control != "" {
				control(step)
				throttled = step.Control == "throttle"
				continue
			}
			line := map[string]any{"scenario": scenario, "step": number}
			result, err := graphs[step.As].carryOut(step)
			var refused *odataerrors.ODataError
			if throttled && step.Do != "getPresence" && errors.As(err, &refused) && refused.ResponseStatusCode == 400 {
				err = unsupported("kiota-http-go 1.5 may try again outside of what compresses, and then has no body for the second try")
			}
			throttled = false
			var reason unsupported
			switch {
			case err == nil:
				line["result"] = result
			case errors.As(err, &reason):
				line["unsupported"] = reason.Error()
			case errors.As(err, &refused):
				said := refused.GetErrorEscaped()
				line["error"] = map[string]any{
					"status":    refused.ResponseStatusCode,
					"code":      said.GetCode(),
					"message":   said.GetMessage(),
					"requestId": said.GetInnerError().GetRequestId(),
				}
			default:
				panic(err)
			}
			fmt.Println(string(check(json.Marshal(line))))
		}
	}
}

func check[T any](value T, err error) T {
	must(err)
	return value
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func control(step step) {
	resource := os.Getenv("PRESENCED_HTTP_URL") + "/_presenced/v1/" + step.Control
	check(http.Post(resource, "application/json", bytes.NewReader(step.Body))).Body.Close()
}

func application() azcore.TokenCredential {
	options := azidentity.ClientSecretCredentialOptions{DisableInstanceDiscovery: true}
	tenant, client, secret := os.Getenv("AZURE_TENANT_ID"), os.Getenv("AZURE_CLIENT_ID"), os.Getenv("AZURE_CLIENT_SECRET")
	return check(azidentity.NewClientSecretCredential(tenant, client, secret, &options))
}

func user() azcore.TokenCredential {
	return check(azidentity.NewDeviceCodeCredential(&azidentity.DeviceCodeCredentialOptions{
		TenantID: os.Getenv("AZURE_TENANT_ID"), ClientID: os.Getenv("AZURE_CLIENT_ID"), DisableInstanceDiscovery: true,
		UserPrompt: func(_ context.Context, device azidentity.DeviceCodeMessage) error {
			// What user A does in a browser: enters the device's code, chooses herself, and agrees.
			form := url.Values{
				"user": {"ana.fuentes@presenced.example"}, "decision": {"agree"}, "user_code": {device.UserCode},
			}
			answer, err := http.PostForm(device.VerificationURL, form)
			if err == nil {
				answer.Body.Close()
			}
			return err
		},
	}))
}

type graph struct {
	*msgraphsdk.GraphServiceClient
	adapter abstractions.RequestAdapter
	// The id of the subscription that was made last.
	subscribed string
}

// The SDK's own way to another cloud: an authentication provider with its hosts, and the adapter's base URL.
func connect(credential azcore.TokenCredential) *graph {
	scopes, hosts := []string{"https://graph.microsoft.com/.default"}, []string{"localhost"}
	provider := check(auth.NewAzureIdentityAuthenticationProviderWithScopesAndValidHosts(credential, scopes, hosts))
	adapter := check(msgraphsdk.NewGraphRequestAdapter(provider))
	adapter.SetBaseUrl(os.Getenv("PRESENCED_URL") + "/v1.0")
	return &graph{msgraphsdk.NewGraphServiceClient(adapter), adapter, ""}
}

func seedSnippet(graphClient *msgraphsdk.GraphServiceClient) error {
	// The document says NewClearPresencePostRequestBody, which the SDK has under this name only.
	requestBody := graphusers.NewItemPresenceClearPresencePostRequestBody()
	sessionId := "22553876-f5ab-4529-bffb-cfe50aa89f87"
	requestBody.SetSessionId(&sessionId)

	// To initialize your graphClient, see https://learn.microsoft.com/en-us/graph/sdks/create-client?from=snippets&tabs=go
	return graphClient.Users().ByUserId("fa8bf3dc-eca7-46b7-bad1-db199b62afc3").Presence().ClearPresence().Post(context.Background(), requestBody, nil)
}

func (graph *graph) user(step step) *graphusers.UserItemRequestBuilder {
	if step.At == "me" {
		return graph.Me()
	}
	return graph.Users().ByUserId(step.User)
}

func (graph *graph) carryOut(step step) (any, error) {
	switch step.Do {
	case "getPresence":
		if step.At == "communications" {
			return typed(graph.Communications().Presences().ByPresenceId(step.User).Get(background, nil))
		}
		return typed(graph.user(step).Presence().Get(background, nil))
	case "getPresencesByUserId":
		body := model[communications.GetPresencesByUserIdPostRequestBodyable](
			step.With, communications.CreateGetPresencesByUserIdPostRequestBodyFromDiscriminatorValue)
		return list(graph.Communications().GetPresencesByUserId().PostAsGetPresencesByUserIdPostResponse(background, body, nil))
	case "getUser":
		return typed(graph.user(step).Get(background, nil))
	case "listUsers":
		return list(graph.Users().Get(background, nil))
	case "seedSnippet":
		return nil, seedSnippet(graph.GraphServiceClient)
	case "batch":
		return graph.batch(step)
	case "receive":
		return receive(step)
	}
	if strings.HasSuffix(step.Do, "Subscription") || step.Do == "listSubscriptions" {
		return graph.subscribe(step)
	}
	if step.At == "communications" {
		return nil, graph.actAtCommunications(step)
	}
	return nil, graph.act(step)
}

func (graph *graph) act(step step) error {
	presence, given := graph.user(step).Presence(), step.With
	switch step.Do {
	case "setPresence":
		return presence.SetPresence().Post(background, session(given), nil)
	case "clearPresence":
		return presence.ClearPresence().Post(background, model[graphusers.ItemPresenceClearPresencePostRequestBodyable](
			given, graphusers.CreateItemPresenceClearPresencePostRequestBodyFromDiscriminatorValue), nil)
	case "setUserPreferredPresence":
		return presence.SetUserPreferredPresence().Post(background, model[graphusers.ItemPresenceSetUserPreferredPresencePostRequestBodyable](
			given, graphusers.CreateItemPresenceSetUserPreferredPresencePostRequestBodyFromDiscriminatorValue), nil)
	case "clearUserPreferredPresence":
		return presence.ClearUserPreferredPresence().Post(background, nil)
	case "setStatusMessage":
		return presence.SetStatusMessage().Post(background, model[graphusers.ItemPresenceSetStatusMessagePostRequestBodyable](
			given, graphusers.CreateItemPresenceSetStatusMessagePostRequestBodyFromDiscriminatorValue), nil)
	}
	return unsupported("msgraph-sdk-go 1.89 has no " + step.Do)
}

// The same actions: below /communications their bodies are types of their own.
func (graph *graph) actAtCommunications(step step) error {
	presence, given := graph.Communications().Presences().ByPresenceId(step.User), step.With
	switch step.Do {
	case "setPresence":
		return presence.SetPresence().Post(background, model[communications.PresencesItemSetPresencePostRequestBodyable](
			given, communications.CreatePresencesItemSetPresencePostRequestBodyFromDiscriminatorValue), nil)
	case "clearPresence":
		return presence.ClearPresence().Post(background, model[communications.PresencesItemClearPresencePostRequestBodyable](
			given, communications.CreatePresencesItemClearPresencePostRequestBodyFromDiscriminatorValue), nil)
	case "setUserPreferredPresence":
		return presence.SetUserPreferredPresence().Post(background, model[communications.PresencesItemSetUserPreferredPresencePostRequestBodyable](
			given, communications.CreatePresencesItemSetUserPreferredPresencePostRequestBodyFromDiscriminatorValue), nil)
	case "clearUserPreferredPresence":
		return presence.ClearUserPreferredPresence().Post(background, nil)
	case "setStatusMessage":
		return presence.SetStatusMessage().Post(background, model[communications.PresencesItemSetStatusMessagePostRequestBodyable](
			given, communications.CreatePresencesItemSetStatusMessagePostRequestBodyFromDiscriminatorValue), nil)
	}
	return unsupported("msgraph-sdk-go 1.89 has no " + step.Do)
}

func session(given json.RawMessage) graphusers.ItemPresenceSetPresencePostRequestBodyable {
	return model[graphusers.ItemPresenceSetPresencePostRequestBodyable](
		given, graphusers.CreateItemPresenceSetPresencePostRequestBodyFromDiscriminatorValue)
}

// What a user would write with setters, made of a scenario's JSON by the SDK's own reader.
func model[T serialization.Parsable](given json.RawMessage, factory serialization.ParsableFactory) T {
	return check(check(jsonserialization.NewJsonParseNode(given)).GetObjectValue(factory)).(T)
}

func (graph *graph) subscribe(step step) (any, error) {
	all, own := graph.Subscriptions(), graph.Subscriptions().BySubscriptionId(graph.subscribed)
	given := func() models.Subscriptionable {
		return model[models.Subscriptionable](step.With, models.CreateSubscriptionFromDiscriminatorValue)
	}
	switch step.Do {
	case "createSubscription":
		created, err := all.Post(background, given(), nil)
		if err != nil {
			return nil, err
		}
		graph.subscribed = *created.GetId()
		return onTheWire(created), nil
	case "listSubscriptions":
		return list(all.Get(background, nil))
	case "getSubscription":
		return typed(own.Get(background, nil))
	case "updateSubscription":
		return typed(own.Patch(background, given(), nil))
	case "reauthorizeSubscription":
		return nil, own.Reauthorize().Post(background, nil)
	default:
		return nil, own.Delete(background, nil)
	}
}

// The next notification at the receiver. Where a key is given, its tokens are checked and its contents read by the means of Go
// and golang-jwt: the SDK has none of its own.
func receive(step step) (any, error) {
	var given struct{ URL, Key string }
	must(json.Unmarshal(step.With, &given))
	answer := check(http.Get(given.URL))
	defer answer.Body.Close()
	var collection map[string]any
	must(json.NewDecoder(answer.Body).Decode(&collection))
	if given.Key == "" {
		return collection, nil
	}
	for _, token := range collection["validationTokens"].([]any) {
		validate(token.(string))
	}
	block, _ := pem.Decode([]byte(given.Key))
	key := check(x509.ParsePKCS8PrivateKey(block.Bytes)).(*rsa.PrivateKey)
	for _, item := range collection["value"].([]any) {
		item := item.(map[string]any)
		item["content"] = decrypt(key, item["encryptedContent"].(map[string]any))
	}
	collection["valid"] = true
	return collection, nil
}

func decrypt(private *rsa.PrivateKey, content map[string]any) any {
	decoded := func(name string) []byte { return check(base64.StdEncoding.DecodeString(content[name].(string))) }
	key, data := check(rsa.DecryptOAEP(sha1.New(), nil, private, decoded("dataKey"), nil)), decoded("data")
	signature := hmac.New(sha256.New, key)
	signature.Write(data)
	if !hmac.Equal(signature.Sum(nil), decoded("dataSignature")) {
		panic("the signature is wrong")
	}
	cipher.NewCBCDecrypter(check(aes.NewCipher(key)), key[:16]).CryptBlocks(data, data)
	var read any
	must(json.Unmarshal(data[:len(data)-int(data[len(data)-1])], &read))
	return read
}

// Panics unless the token says that a notification comes from where it should.
func validate(token string) {
	base := os.Getenv("PRESENCED_URL")
	answer := check(http.Get(base + "/common/discovery/v2.0/keys"))
	defer answer.Body.Close()
	var set struct{ Keys []struct{ Kid, N, E string } }
	must(json.NewDecoder(answer.Body).Decode(&set))
	find := func(token *jwt.Token) (any, error) {
		for _, key := range set.Keys {
			if key.Kid == token.Header["kid"] {
				n, e := check(base64.RawURLEncoding.DecodeString(key.N)), check(base64.RawURLEncoding.DecodeString(key.E))
				return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}, nil
			}
		}
		return nil, errors.New("no such key")
	}
	claims := jwt.MapClaims{}
	check(jwt.ParseWithClaims(token, claims, find, jwt.WithValidMethods([]string{"RS256"}), jwt.WithExpirationRequired(),
		jwt.WithAudience(os.Getenv("PRESENCED_CLIENT_ID")), jwt.WithIssuer(base+"/"+os.Getenv("PRESENCED_TENANT")+"/v2.0")))
	if claims["azp"] != "0bf30f3b-4a52-48df-9a82-234910c4a086" || claims["tid"] != os.Getenv("PRESENCED_TENANT") {
		panic(claims)
	}
}

// The SDK's own batch.
func (graph *graph) batch(whole step) (any, error) {
	batch := graphcore.NewBatchRequest(graph.adapter)
	items := map[string]graphcore.BatchItem{}
	for _, step := range whole.Requests {
		var request *abstractions.RequestInformation
		if step.Do == "getPresence" {
			request = check(graph.user(step).Presence().ToGetRequestInformation(background, nil))
		} else {
			request = check(graph.user(step).Presence().SetPresence().ToPostRequestInformation(background, session(step.With), nil))
		}
		item := check(batch.AddBatchRequestStep(*request))
		for _, before := range step.DependsOn {
			item.DependsOnItem(items[before])
		}
		items[step.ID] = item
	}
	answer, err := batch.Send(background, graph.adapter)
	if err != nil {
		return nil, err
	}
	result := map[string]any{}
	for id, item := range items {
		part := answer.GetResponseById(*item.GetId())
		result[id] = map[string]any{"status": part.GetStatus(), "body": part.GetBody()}
	}
	return result, nil
}

// A typed answer in the shape of the wire.
func typed[T serialization.Parsable](model T, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return onTheWire(model), nil
}

// A typed collection in the shape of the wire.
func list[T serialization.Parsable](answer interface{ GetValue() []T }, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	all := []any{}
	for _, model := range answer.GetValue() {
		all = append(all, onTheWire(model))
	}
	return all, nil
}

func onTheWire(model serialization.Parsable) map[string]any {
	writer := jsonserialization.NewJsonSerializationWriter()
	must(writer.WriteObjectValue("", model))
	var members map[string]any
	must(json.Unmarshal(check(writer.GetSerializedContent()), &members))
	// A member that only the service writes is read, and never written.
	if presence, is := model.(models.Presenceable); is {
		members["sequenceNumber"] = presence.GetSequenceNumber()
	}
	return members
}
