package appsandbookstest

import (
	"context"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// MDMInfo identifies a device management service.
type MDMInfo struct {
	ID       string `json:"id"`
	Metadata string `json:"metadata"`
	Name     string `json:"name"`
}

// ClientConfig is the client configuration of a unit.
type ClientConfig struct {
	MDMInfo               *MDMInfo // nil if no device management service has claimed the unit
	NotificationURL       string
	NotificationAuthToken string
	NotificationTypes     []string
}

// ClientConfig returns a copy of the unit's client configuration.
func (u *Unit) ClientConfig() ClientConfig {
	u.mu.Lock()
	defer u.mu.Unlock()
	c := u.config
	c.NotificationTypes = slices.Clone(c.NotificationTypes)
	if c.MDMInfo != nil {
		info := *c.MDMInfo
		c.MDMInfo = &info
	}
	return c
}

// TakeOver simulates that another device management service claims the unit: it
// sets the mdmInfo of the client configuration. Every later answer has that
// mdmInfo. The notification URL, its secret and the types do not change.
func (u *Unit) TakeOver(by MDMInfo) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.config.MDMInfo = &by
}

// invitationTemplate is the URL at which a person accepts an invitation.
// Clients replace %25inviteCode%25 in the URL.
const invitationTemplate = "https://buy.itunes.apple.com/WebObjects/MZFinance.woa/wa/associateVPPUserWithITSAccount" +
	"?inviteCode=%25inviteCode%25&mt=8"

// serviceURLs are the paths of the endpoints that service/config announces, by
// the keys of the announced URLs. It announces no endpoints for subscriptions.
var serviceURLs = map[string]string{
	"clientConfig":          basePath + "/client/config",
	"createUsers":           basePath + "/users/create",
	"updateUsers":           basePath + "/users/update",
	"retireUsers":           basePath + "/users/retire",
	"getUsers":              basePath + "/users",
	"getAssets":             basePath + "/assets",
	"associateAssets":       basePath + "/assets/associate",
	"disassociateAssets":    basePath + "/assets/disassociate",
	"revokeAssets":          basePath + "/assets/revoke",
	"getAssignments":        basePath + "/assignments",
	"eventStatus":           basePath + "/status",
	"contentMetadataLookup": "/WebObjects/MZStorePlatform.woa/wa/lookup",
}

// getServiceConfig handles GET service/config.
func getServiceConfig(c *call) (any, *apiError) {
	c.srv.mu.Lock()
	limits := c.srv.limits
	c.srv.mu.Unlock()

	answer := wireServiceConfig{
		Limits:            limits.announced(),
		NotificationTypes: notificationTypes,
		URLs:              map[string]string{"invitationEmail": invitationTemplate},
	}
	for _, number := range listedCodes() {
		answer.ErrorCodes = append(answer.ErrorCodes, newWireError(number, nil))
	}
	for key, path := range serviceURLs {
		answer.URLs[key] = c.base + path
	}
	return answer, nil
}

// getClientConfig handles GET client/config.
func getClientConfig(c *call) (any, *apiError) {
	c.unit.lockAndUpdate()
	defer c.unit.mu.Unlock()
	return c.unit.clientConfig(), nil
}

// clientConfig returns the answer of client/config. The lock must be held.
func (u *Unit) clientConfig() wireClientConfig {
	return wireClientConfig{
		wireCommon:                  u.common(),
		CountryISO2ACode:            "US",
		DefaultPlatform:             "enterprisestore",
		LocationName:                u.name,
		NotificationAuthToken:       u.config.NotificationAuthToken,
		NotificationURL:             u.config.NotificationURL,
		SubscribedNotificationTypes: append([]string{}, u.config.NotificationTypes...),
		WebsiteURL:                  "https://business.apple.com",
	}
}

// setClientConfig handles POST client/config.
func setClientConfig(c *call) (any, *apiError) {
	var body wireClientConfigRequest
	if refusal := c.decode(&body); refusal != nil {
		return nil, refusal
	}
	var types []string
	if body.NotificationTypes != nil {
		for _, t := range *body.NotificationTypes {
			if t != NotificationTest && !slices.Contains(notificationTypes, t) {
				return nil, refuseArgument("notificationTypes")
			}
			if t != NotificationTest && !slices.Contains(types, t) {
				types = append(types, t)
			}
		}
	}
	var info *MDMInfo
	if m := body.MDMInfo; m != nil {
		if m.ID == nil || m.Name == nil || m.Metadata == nil {
			return nil, refuse(numMDMInfoIncomplete)
		}
		info = &MDMInfo{ID: *m.ID, Name: *m.Name, Metadata: *m.Metadata}
		switch {
		case utf8.RuneCountInString(info.ID) > c.limits.MaxMDMIDLength:
			return nil, refuse(numMDMIDTooLong)
		case utf8.RuneCountInString(info.Name) > c.limits.MaxMDMNameLength:
			return nil, refuse(numMDMNameTooLong)
		case utf8.RuneCountInString(info.Metadata) > c.limits.MaxMDMMetadataLength:
			return nil, refuse(numMetadataTooLong)
		}
	}

	u := c.unit
	if refusal := c.checkReceiver(body.NotificationURL, body.NotificationAuthToken); refusal != nil {
		return nil, refusal
	}
	if body.NotificationURL != nil && !u.sendTestNotification(c.ctx, *body.NotificationURL, *body.NotificationAuthToken) {
		return nil, refuse(numNotificationUnreachable)
	}

	u.lockAndUpdate()
	defer u.mu.Unlock()
	if info != nil {
		u.config.MDMInfo = info
	}
	if body.NotificationURL != nil {
		u.config.NotificationURL = *body.NotificationURL
		u.config.NotificationAuthToken = *body.NotificationAuthToken
	}
	if body.NotificationTypes != nil {
		u.config.NotificationTypes = types
	}
	u.setEventTimer()
	return u.clientConfig(), nil
}

// bearerToken matches a bearer token as defined by RFC 6750.
var bearerToken = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

// checkReceiver refuses a notification URL and a secret with an invalid form.
// The argument receiver or secret is nil if the request does not have it.
func (c *call) checkReceiver(receiver, secret *string) *apiError {
	if receiver == nil && secret == nil {
		return nil
	}
	if receiver == nil || secret == nil || *secret == "" {
		return refuse(numNotificationPair)
	}
	limit := c.limits.MaxNotificationLength
	if utf8.RuneCountInString(*receiver) > limit || utf8.RuneCountInString(*secret) > limit {
		return refuse(numNotificationTooLong)
	}
	if !validReceiver(*receiver) {
		return refuse(numNotificationURL)
	}
	if !bearerToken.MatchString(*secret) {
		return refuseArgument("notificationAuthToken")
	}
	return nil
}

// validReceiver reports whether an address is a valid notification URL. The
// scheme must be https. For loopback hosts it may be http.
func validReceiver(address string) bool {
	a, err := url.Parse(address)
	if err != nil || a.Hostname() == "" || a.User != nil || strings.ContainsAny(address, "?#") {
		return false
	}
	return a.Scheme == "https" || a.Scheme == "http" && isLoopback(a.Hostname())
}

// sendTestNotification delivers a test notification once, and reports whether
// the receiver accepted it.
func (u *Unit) sendTestNotification(ctx context.Context, address, secret string) bool {
	u.mu.Lock()
	n := u.envelope(NotificationTest, struct{}{})
	u.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(u.srv.ctx, cancel)() // Server.Close must not wait for the receiver
	return u.srv.deliver(ctx, u, address, secret, n, 1, false)
}
