// Carries out the scenarios with msgraph-sdk-go, signed in by azidentity. The SDK compresses the bodies of its requests.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
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
	With      given           `json:"with"`
}

// The parameters of every action; what is not there is nil.
type given struct {
	SessionID          *string  `json:"sessionId"`
	Availability       *string  `json:"availability"`
	Activity           *string  `json:"activity"`
	ExpirationDuration *string  `json:"expirationDuration"`
	IDs                []string `json:"ids"`
	StatusMessage      struct {
		Message struct {
			Content     string `json:"content"`
			ContentType string `json:"contentType"`
		} `json:"message"`
		ExpiryDateTime *struct {
			DateTime string `json:"dateTime"`
			TimeZone string `json:"timeZone"`
		} `json:"expiryDateTime"`
	} `json:"statusMessage"`
}

// The client cannot express a step.
type unsupported string

func (reason unsupported) Error() string { return string(reason) }

type readyToken string

func (token readyToken) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(token), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

var background = context.Background()

func main() {
	graphs := map[string]*graph{
		"app":  connect(application()),
		"user": connect(readyToken(os.Getenv("PRESENCED_USER_A_TOKEN"))),
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
			if err != nil && throttled && step.Do != "getPresence" {
				err = unsupported("kiota-http-go 1.5 sends the second try of a compressed request without its body")
			}
			throttled = false
			var reason unsupported
			var refused *odataerrors.ODataError
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
	url := os.Getenv("PRESENCED_HTTP_URL") + "/_presenced/v1/" + step.Control
	check(http.Post(url, "application/json", bytes.NewReader(step.Body))).Body.Close()
}

func application() azcore.TokenCredential {
	options := azidentity.ClientSecretCredentialOptions{DisableInstanceDiscovery: true}
	tenant, client, secret := os.Getenv("AZURE_TENANT_ID"), os.Getenv("AZURE_CLIENT_ID"), os.Getenv("AZURE_CLIENT_SECRET")
	return check(azidentity.NewClientSecretCredential(tenant, client, secret, &options))
}

type graph struct {
	*msgraphsdk.GraphServiceClient
	adapter abstractions.RequestAdapter
}

// The SDK's own way to another cloud: an authentication provider with its hosts, and the adapter's base URL.
func connect(credential azcore.TokenCredential) *graph {
	scopes, hosts := []string{"https://graph.microsoft.com/.default"}, []string{"localhost"}
	provider := check(auth.NewAzureIdentityAuthenticationProviderWithScopesAndValidHosts(credential, scopes, hosts))
	adapter := check(msgraphsdk.NewGraphRequestAdapter(provider))
	adapter.SetBaseUrl(os.Getenv("PRESENCED_URL") + "/v1.0")
	return &graph{msgraphsdk.NewGraphServiceClient(adapter), adapter}
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
			return presenceOnTheWire(graph.Communications().Presences().ByPresenceId(step.User).Get(background, nil))
		}
		return presenceOnTheWire(graph.user(step).Presence().Get(background, nil))
	case "getPresencesByUserId":
		body := communications.NewGetPresencesByUserIdPostRequestBody()
		body.SetIds(step.With.IDs)
		answer, err := graph.Communications().GetPresencesByUserId().PostAsGetPresencesByUserIdPostResponse(background, body, nil)
		if err != nil {
			return nil, err
		}
		all := []any{}
		for _, presence := range answer.GetValue() {
			all = append(all, check(presenceOnTheWire(presence, nil)))
		}
		return all, nil
	case "getUser":
		user, err := graph.user(step).Get(background, nil)
		if err != nil {
			return nil, err
		}
		return onTheWire(user), nil
	case "listUsers":
		answer, err := graph.Users().Get(background, nil)
		if err != nil {
			return nil, err
		}
		all := []any{}
		for _, user := range answer.GetValue() {
			all = append(all, onTheWire(user))
		}
		return all, nil
	case "seedSnippet":
		return nil, seedSnippet(graph.GraphServiceClient)
	case "batch":
		return graph.batch(step)
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
		body := graphusers.NewItemPresenceClearPresencePostRequestBody()
		body.SetSessionId(given.SessionID)
		return presence.ClearPresence().Post(background, body, nil)
	case "setUserPreferredPresence":
		body := graphusers.NewItemPresenceSetUserPreferredPresencePostRequestBody()
		body.SetAvailability(given.Availability)
		body.SetActivity(given.Activity)
		body.SetExpirationDuration(duration(given))
		return presence.SetUserPreferredPresence().Post(background, body, nil)
	case "clearUserPreferredPresence":
		return presence.ClearUserPreferredPresence().Post(background, nil)
	case "setStatusMessage":
		body := graphusers.NewItemPresenceSetStatusMessagePostRequestBody()
		body.SetStatusMessage(statusMessage(given))
		return presence.SetStatusMessage().Post(background, body, nil)
	}
	return unsupported("msgraph-sdk-go 1.89 has no " + step.Do)
}

func (graph *graph) actAtCommunications(step step) error {
	presence, given := graph.Communications().Presences().ByPresenceId(step.User), step.With
	switch step.Do {
	case "setPresence":
		body := communications.NewPresencesItemSetPresencePostRequestBody()
		body.SetSessionId(given.SessionID)
		body.SetAvailability(given.Availability)
		body.SetActivity(given.Activity)
		body.SetExpirationDuration(duration(given))
		return presence.SetPresence().Post(background, body, nil)
	case "clearPresence":
		body := communications.NewPresencesItemClearPresencePostRequestBody()
		body.SetSessionId(given.SessionID)
		return presence.ClearPresence().Post(background, body, nil)
	case "setUserPreferredPresence":
		body := communications.NewPresencesItemSetUserPreferredPresencePostRequestBody()
		body.SetAvailability(given.Availability)
		body.SetActivity(given.Activity)
		body.SetExpirationDuration(duration(given))
		return presence.SetUserPreferredPresence().Post(background, body, nil)
	case "clearUserPreferredPresence":
		return presence.ClearUserPreferredPresence().Post(background, nil)
	case "setStatusMessage":
		body := communications.NewPresencesItemSetStatusMessagePostRequestBody()
		body.SetStatusMessage(statusMessage(given))
		return presence.SetStatusMessage().Post(background, body, nil)
	}
	return unsupported("msgraph-sdk-go 1.89 has no " + step.Do)
}

func session(given given) graphusers.ItemPresenceSetPresencePostRequestBodyable {
	body := graphusers.NewItemPresenceSetPresencePostRequestBody()
	body.SetSessionId(given.SessionID)
	body.SetAvailability(given.Availability)
	body.SetActivity(given.Activity)
	body.SetExpirationDuration(duration(given))
	return body
}

func duration(given given) *serialization.ISODuration {
	if given.ExpirationDuration == nil {
		return nil
	}
	return check(serialization.ParseISODuration(*given.ExpirationDuration))
}

func statusMessage(given given) models.PresenceStatusMessageable {
	note := given.StatusMessage
	kind := models.TEXT_BODYTYPE
	if note.Message.ContentType == "html" {
		kind = models.HTML_BODYTYPE
	}
	message := models.NewItemBody()
	message.SetContent(&note.Message.Content)
	message.SetContentType(&kind)
	status := models.NewPresenceStatusMessage()
	status.SetMessage(message)
	if note.ExpiryDateTime != nil {
		ends := models.NewDateTimeTimeZone()
		ends.SetDateTime(&note.ExpiryDateTime.DateTime)
		ends.SetTimeZone(&note.ExpiryDateTime.TimeZone)
		status.SetExpiryDateTime(ends)
	}
	return status
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

func presenceOnTheWire(presence models.Presenceable, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	members := onTheWire(presence)
	// A member that only the service writes is read, and never written.
	members["sequenceNumber"] = presence.GetSequenceNumber()
	return members, nil
}

// A typed model in the shape of the wire.
func onTheWire(model serialization.Parsable) map[string]any {
	writer := jsonserialization.NewJsonSerializationWriter()
	must(writer.WriteObjectValue("", model))
	var members map[string]any
	must(json.Unmarshal(check(writer.GetSerializedContent()), &members))
	return members
}
