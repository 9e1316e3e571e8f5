<?php
/**
 * Plugin Name: pca_protect
 * Description: Replaces every size of an uploaded picture by a protected WebP file. Put this file into wp-content/mu-plugins.
 *
 * In wp-config.php: define('PCA_PROTECT_SERVER', 'http://127.0.0.1:7861'); and, if the server has one, PCA_PROTECT_TOKEN.
 * WordPress resizes first, then calls this. An upload that cannot be protected is deleted, so that nothing unprotected is
 * published.
 */

add_filter('wp_generate_attachment_metadata', 'pca_protect_attachment', 99, 2);

function pca_protect_attachment($metadata, $attachment_id) {
    if (!isset($metadata['file'])) {
        return $metadata;  // no picture
    }
    $original = get_attached_file($attachment_id);
    $folder = dirname($original);
    $sizes = isset($metadata['sizes']) ? $metadata['sizes'] : array();
    $names = array_unique(array_merge(array(basename($original)), array_column($sizes, 'file')));
    $protected = array();
    foreach ($names as $name) {
        $data = pca_protect_file("$folder/$name");
        if ($data === null) {
            wp_delete_attachment($attachment_id, true);
            return array();
        }
        $protected[$name] = $data;
    }
    foreach ($protected as $name => $data) {
        file_put_contents("$folder/" . pca_protect_name($name), $data);
        if (pca_protect_name($name) !== $name) {
            unlink("$folder/$name");
        }
    }
    if (!empty($metadata['original_image'])) {
        unlink("$folder/" . $metadata['original_image']);  // the upload that WordPress scaled down
        unset($metadata['original_image']);
    }
    foreach ($sizes as $size => $values) {
        $metadata['sizes'][$size]['file'] = pca_protect_name($values['file']);
        $metadata['sizes'][$size]['mime-type'] = 'image/webp';
        $metadata['sizes'][$size]['filesize'] = strlen($protected[$values['file']]);
    }
    $metadata['file'] = pca_protect_name($metadata['file']);
    $metadata['filesize'] = strlen($protected[basename($original)]);
    update_attached_file($attachment_id, pca_protect_name($original));
    wp_update_post(array('ID' => $attachment_id, 'post_mime_type' => 'image/webp'));
    return $metadata;
}

function pca_protect_name($name) {
    return preg_replace('/\.[^.\/]+$/', '.webp', $name);
}

/** The protected picture, or null. Waits for a place in the server's queue for up to a minute. */
function pca_protect_file($path) {
    $headers = array('Content-Type' => 'application/octet-stream');
    if (defined('PCA_PROTECT_TOKEN')) {
        $headers['Authorization'] = 'Bearer ' . PCA_PROTECT_TOKEN;
    }
    $url = PCA_PROTECT_SERVER . '/v1/protect?mode=subtle&format=webp';
    $request = array('body' => file_get_contents($path), 'headers' => $headers, 'timeout' => 300);
    $deadline = time() + 60;
    do {
        $answer = wp_remote_post($url, $request);
        $status = (int) wp_remote_retrieve_response_code($answer);
        $busy = ($status === 429 || $status === 503) && time() < $deadline;
        if ($busy) {
            sleep(min(10, max(1, (int) wp_remote_retrieve_header($answer, 'retry-after'))));
        }
    } while ($busy);
    if ($status !== 200) {
        error_log("pca_protect: $path: $status " . wp_remote_retrieve_body($answer));
        return null;
    }
    return wp_remote_retrieve_body($answer);
}
