package org.elasticsearch.xpack.security;

import java.util.List;
import org.elasticsearch.action.ActionRequest;
import org.elasticsearch.action.ActionResponse;
import org.elasticsearch.common.settings.Settings;

/**
 * Users, roles and API keys, as a distribution has them; SAML left out because its libraries are not on Maven Central.
 *
 * <p>Lies in this package because the server takes REST interceptors from its own packages only.
 */
public final class SecurityWithoutSaml extends Security {
    public SecurityWithoutSaml(Settings settings) {
        super(settings);
    }

    @Override
    public List<ActionHandler<? extends ActionRequest, ? extends ActionResponse>> getActions() {
        return super.getActions().stream().filter(handler -> !handler.getTransportAction().getName().contains("Saml")).toList();
    }
}
