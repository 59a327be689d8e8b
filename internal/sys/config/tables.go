package config

// TableParams returns the parameters of a type of table that is defined by
// parameters, nil for the others: ldap_table(5), mysql_table(5) and so on.
func TableParams(kind string) []string {
	switch kind {
	case "ldap":
		return []string{"bind", "bind_dn", "bind_pw", "cache", "cache_expiry", "cache_size", "chase_referrals", "debuglevel", "dereference",
			"domain", "expansion_limit", "leaf_result_attribute", "query_filter", "recursion_limit", "result_attribute", "result_filter",
			"result_format", "sasl_authz_id", "sasl_mechs", "sasl_minssf", "sasl_realm", "scope", "search_base", "server_host", "server_port",
			"size_limit", "special_result_attribute", "start_tls", "terminal_result_attribute", "timeout", "tls_ca_cert_dir", "tls_ca_cert_file",
			"tls_cert", "tls_cipher_suite", "tls_key", "tls_random_file", "tls_require_cert", "version"}
	case "mysql":
		return []string{"additional_conditions", "dbname", "domain", "expansion_limit", "hosts", "option_file", "option_group", "password",
			"query", "require_result_set", "result_format", "select_field", "table", "tls_CAfile", "tls_CApath", "tls_cert_file", "tls_ciphers",
			"tls_key_file", "tls_verify_cert", "user", "where_field"}
	case "pgsql":
		return []string{"additional_conditions", "dbname", "domain", "expansion_limit", "hosts", "password", "query", "result_format",
			"select_field", "select_function", "table", "user", "where_field"}
	case "sqlite":
		return []string{"additional_conditions", "dbpath", "domain", "expansion_limit", "query", "result_format", "select_field", "table", "where_field"}
	case "memcache":
		return []string{"backup", "data_size_limit", "domain", "flags", "key_format", "line_size_limit", "max_try", "memcache", "retry_pause", "timeout", "ttl"}
	}
	return nil
}
