package policy

import "packetboat/internal/receive/policy/service"

// Options are the parameters of main.cf that policy reads. Lists are split as
// Postfix splits them; codes are SMTP reply codes; 0 or empty means Postfix's
// default.
type Options struct {
	Hostname      string              `main:"myhostname"`
	MyNetworks    []string            `main:"mynetworks"`
	MyOrigin      string              `main:"myorigin"`
	ClassNames    []string            `main:"smtpd_restriction_classes"`
	Classes       map[string][]string // the words of each class, which is a parameter of main.cf
	Client        []string            `main:"smtpd_client_restrictions"`
	Helo          []string            `main:"smtpd_helo_restrictions"`
	Sender        []string            `main:"smtpd_sender_restrictions"`
	Relay         []string            `main:"smtpd_relay_restrictions"`
	Recipient     []string            `main:"smtpd_recipient_restrictions"`
	Data          []string            `main:"smtpd_data_restrictions"`
	EndOfData     []string            `main:"smtpd_end_of_data_restrictions"`
	Etrn          []string            `main:"smtpd_etrn_restrictions"`
	DelayReject   string              `main:"smtpd_delay_reject"`                        // empty = yes
	RelayFirst    string              `main:"smtpd_relay_before_recipient_restrictions"` // empty = yes
	UnlistedRcpt  string              `main:"smtpd_reject_unlisted_recipient"`           // empty = yes
	UnlistedFrom  bool                `main:"smtpd_reject_unlisted_sender"`
	Overrides     []string            `main:"receive_override_options"`
	SoftBounce    bool                `main:"soft_bounce"`
	ShowTable     string              `main:"show_user_unknown_table_name"` // empty = yes
	PercentHack   string              `main:"allow_percent_hack"`           // empty = yes
	SwapBang      string              `main:"swap_bangpath"`                // empty = yes
	Untrusted     bool                `main:"allow_untrusted_routing"`
	Delimiter     string              `main:"recipient_delimiter"`
	ParentMatches []string            `main:"parent_domain_matches_subdomains"` // smtpd_access_maps in it: "domain" counts for what is below it
	NullKey       string              `main:"smtpd_null_access_lookup_key"`     // empty = <>
	PermitLog     []string            `main:"smtpd_log_access_permit_actions"`

	SASL           bool     `main:"smtpd_sasl_auth_enable"`
	SenderLogins   []string `main:"smtpd_sender_login_maps"`
	AskCert        bool     `main:"smtpd_tls_ask_ccert"`
	RelayCerts     []string `main:"relay_clientcerts"`
	BackupNetworks []string `main:"permit_mx_backup_networks"`

	RBLZones     []string `main:"maps_rbl_domains"`
	RBLReplies   []string `main:"rbl_reply_maps"`
	RBLReply     string   `main:"default_rbl_reply"`      // empty = Postfix's template
	ExpandFilter string   `main:"smtpd_expansion_filter"` // empty = printable ASCII
	Footer       string   `main:"smtpd_reject_footer"`
	FooterMaps   []string `main:"smtpd_reject_footer_maps"`

	Service  service.Options
	QueueDir string `main:"queue_directory"` // where unix: servers are looked for
	Stress   string `main:"stress"`

	HeloTempfail    string `main:"unknown_helo_hostname_tempfail_action"` // empty = defer_if_permit, as below
	AddressTempfail string `main:"unknown_address_tempfail_action"`
	RcptTempfail    string `main:"unverified_recipient_tempfail_action"`
	SenderTempfail  string `main:"unverified_sender_tempfail_action"`
	RcptReason      string `main:"unverified_recipient_reject_reason"`
	SenderReason    string `main:"unverified_sender_reject_reason"`
	Polls           Polls

	// Greylist and its exceptions are parameters of our own; package greylist has
	// the others.
	Greylist   bool     `main:"smtpd_greylist"`
	GreyExempt []string `main:"smtpd_greylist_exceptions"` // networks, names and .domains of clients, and tables of them

	Codes
}

// Codes are the reply codes of postconf(5); 0 = the default named behind each.
type Codes struct {
	Reject         int `main:"reject_code"`                         // 554
	Defer          int `main:"defer_code"`                          // 450
	AccessReject   int `main:"access_map_reject_code"`              // 554
	AccessDefer    int `main:"access_map_defer_code"`               // 450
	RelayReject    int `main:"relay_domains_reject_code"`           // 554
	NonFQDN        int `main:"non_fqdn_reject_code"`                // 504
	InvalidHelo    int `main:"invalid_hostname_reject_code"`        // 501
	UnknownHelo    int `main:"unknown_hostname_reject_code"`        // 450
	UnknownClient  int `main:"unknown_client_reject_code"`          // 450
	UnknownAddress int `main:"unknown_address_reject_code"`         // 450
	Plaintext      int `main:"plaintext_reject_code"`               // 450
	MultiBounce    int `main:"multi_recipient_bounce_reject_code"`  // 550
	UnknownLocal   int `main:"unknown_local_recipient_reject_code"` // 550
	UnknownAlias   int `main:"unknown_virtual_alias_reject_code"`   // 550
	UnknownMailbox int `main:"unknown_virtual_mailbox_reject_code"` // 550
	UnknownRelay   int `main:"unknown_relay_recipient_reject_code"` // 550
	MapsRBL        int `main:"maps_rbl_reject_code"`                // 554
	RcptUnverified int `main:"unverified_recipient_reject_code"`    // 450
	RcptProbing    int `main:"unverified_recipient_defer_code"`     // 450
	FromUnverified int `main:"unverified_sender_reject_code"`       // 450
	FromProbing    int `main:"unverified_sender_defer_code"`        // 450
}

// rblReply is default_rbl_reply.
const rblReply = "$rbl_code Service unavailable; $rbl_class [$rbl_what] blocked using $rbl_domain${rbl_reason?; $rbl_reason}"

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		v   *string
		def string
	}{
		{&o.NullKey, "<>"}, {&o.RBLReply, rblReply}, {&o.HeloTempfail, "defer_if_permit"}, {&o.AddressTempfail, "defer_if_permit"},
		{&o.RcptTempfail, "defer_if_permit"}, {&o.SenderTempfail, "defer_if_permit"},
	} {
		if *d.v == "" {
			*d.v = d.def
		}
	}
	o.Codes = o.Codes.withDefaults()
	o.Polls = o.Polls.withDefaults()
	return o
}

func (c Codes) withDefaults() Codes {
	for _, f := range []struct {
		code *int
		def  int
	}{
		{&c.Reject, 554}, {&c.Defer, 450}, {&c.AccessReject, 554}, {&c.AccessDefer, 450},
		{&c.RelayReject, 554}, {&c.NonFQDN, 504}, {&c.InvalidHelo, 501}, {&c.UnknownHelo, 450},
		{&c.UnknownClient, 450}, {&c.UnknownAddress, 450}, {&c.Plaintext, 450}, {&c.MultiBounce, 550},
		{&c.UnknownLocal, 550}, {&c.UnknownAlias, 550}, {&c.UnknownMailbox, 550}, {&c.UnknownRelay, 550},
		{&c.MapsRBL, 554}, {&c.RcptUnverified, 450}, {&c.RcptProbing, 450}, {&c.FromUnverified, 450}, {&c.FromProbing, 450},
	} {
		if *f.code == 0 {
			*f.code = f.def
		}
	}
	return c
}
